"""Reads a Beancount file beside nothing but the accounts that it names, and says what Beancount made of it, as JSON."""

import collections
import json
import sys
import tempfile

import beancount
from beancount import loader
from beancount.core import data

with tempfile.NamedTemporaryFile("w", suffix=".beancount") as main:
    main.write('plugin "beancount.plugins.auto_accounts"\n')
    main.writelines(f'include "{path}"\n' for path in sys.argv[1:])
    main.flush()
    entries, errors, options = loader.load_file(main.name)

transactions = [e for e in entries if isinstance(e, data.Transaction)]
postings = [p for t in transactions for p in t.postings]
debited = collections.Counter()
for p in postings:
    if p.units.number > 0:
        debited[p.units.currency] += p.units.number
json.dump({
    "version": beancount.__version__,
    "errors": [str(e.message) for e in errors],
    "transactions": len(transactions),
    "postings": len(postings),
    "ids": len({p.meta["id"] for p in postings}),
    "accounts": len({p.account for p in postings}),
    "debited": {c: str(n) for c, n in debited.items()},
    "decimals": max((-p.units.number.as_tuple().exponent for p in postings), default=0),
    "left": [str(p) for t in transactions for p in [sum(p.units.number for p in t.postings)] if p != 0],
}, sys.stdout)
