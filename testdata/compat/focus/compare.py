"""Compares the rules that fail in a report of focus-validator with those that are listed as failing.

compare.py REPORT.xml failing.txt FILE
"""

import sys
import xml.etree.ElementTree as ElementTree

report, listed, file = sys.argv[1:]
kind = file.rsplit(".", 1)[-1].lower()

expected = set()
with open(listed, encoding="utf-8") as lines:
    for line in lines:
        fields = line.split(None, 3)
        if fields and not line.startswith("#") and fields[0] in ("both", kind):
            expected.add(fields[1])

failed, passed, skipped = set(), 0, 0
for case in ElementTree.parse(report).getroot().iter("testcase"):
    rule = case.get("name").split(" ")[0]
    if case.find("failure") is not None or case.find("error") is not None:
        failed.add(rule)
    elif case.find("skipped") is not None:
        skipped += 1
    else:
        passed += 1

print(f"{file}: {passed} rules pass, {len(failed)} fail, {skipped} are skipped")
for rule in sorted(failed - expected):
    print(f"  {rule} fails, and is not in failing.txt")
for rule in sorted(expected - failed):
    print(f"  {rule} is in failing.txt, and doesn't fail")
if failed != expected or passed < 150:
    sys.exit(1)
