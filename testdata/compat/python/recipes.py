"""Runs what docs/readers.md tells people to type on usage.duckdb, and prints a JSON object of each: what for, the code, and what came.

    recipes.py FILE

FILE is in a folder of its own: it is replaced in between, as a publish does it."""

import decimal
import json
import os
import shutil
import sys

import duckdb
import sqlalchemy
from sqlalchemy.pool import NullPool

PATH = sys.argv[1]
MONEY = "SELECT sum(amount) FROM usage"


def replace(generation):
    """Publishes anew: another file under the same name."""
    shutil.copyfile(PATH, PATH + ".next")
    with duckdb.connect(PATH + ".next") as writer:
        writer.execute("UPDATE meta SET generation = ?", [generation])
    os.rename(PATH + ".next", PATH)


def kind(value):
    return "exact, Decimal" if isinstance(value, decimal.Decimal) else type(value).__name__


RECIPES = []


def recipe(what, code):
    def add(run):
        RECIPES.append((what, code, run))
        return run

    return add


@recipe("money in Python", 'con.execute("SELECT sum(amount) FROM usage").fetchone()')
def _(code):
    with duckdb.connect(PATH, read_only=True) as con:
        return kind(eval(code, {"con": con})[0])


@recipe("money in polars", 'con.sql("SELECT sum(amount) FROM usage").pl()')
def _(code):
    with duckdb.connect(PATH, read_only=True) as con:
        return kind(eval(code, {"con": con}).item())


@recipe("money in Arrow", 'con.sql("SELECT sum(amount) FROM usage").to_arrow_table()')
def _(code):
    with duckdb.connect(PATH, read_only=True) as con:
        return kind(eval(code, {"con": con}).column(0)[0].as_py())


@recipe("money in pandas: doubles, so round in SQL", 'con.sql("SELECT round(sum(amount), 2) FROM usage").df()')
def _(code):
    with duckdb.connect(PATH, read_only=True) as con:
        return str(eval(code, {"con": con}).dtypes.iloc[0])


@recipe("which publish a connection sees", 'con.execute("SELECT generation FROM published").fetchone()')
def _(code):
    replace(100)
    with duckdb.connect(PATH, read_only=True) as con:
        return "the present one" if eval(code, {"con": con}) == (100,) else "another"


@recipe("today's publish, while a connection to yesterday's is open", 'duckdb.connect("usage.duckdb", read_only=True)')
def _(code):
    replace(101)
    old = duckdb.connect(PATH, read_only=True)
    replace(102)
    with duckdb.connect(PATH, read_only=True) as con:
        seen = con.execute("SELECT generation FROM published").fetchone()[0]
    old.close()
    return {101: "yesterday's", 102: "today's"}[seen]


@recipe("the same, once every connection of the process is closed", 'old.close(); duckdb.connect("usage.duckdb", read_only=True)')
def _(code):
    replace(103)
    old = duckdb.connect(PATH, read_only=True)
    replace(104)
    old.close()
    with duckdb.connect(PATH, read_only=True) as con:
        seen = con.execute("SELECT generation FROM published").fetchone()[0]
    return {103: "yesterday's", 104: "today's"}[seen]


@recipe("the same, attached anew", "DETACH u; ATTACH 'usage.duckdb' AS u (READ_ONLY)")
@recipe("the same, attached", "ATTACH OR REPLACE 'usage.duckdb' AS u (READ_ONLY)")
def _(code):
    replace(105)
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{PATH}' AS u (READ_ONLY)")
        replace(106)
        con.execute(code.replace("usage.duckdb", PATH))
        seen = con.execute("SELECT generation FROM u.published").fetchone()[0]
    return {105: "yesterday's", 106: "today's"}[seen]


def pooled(**options):
    replace(109)
    engine = sqlalchemy.create_engine("duckdb:///" + PATH, connect_args={"read_only": True}, **options)
    ask = sqlalchemy.text("SELECT generation FROM published")
    with engine.connect() as con:
        con.execute(ask).fetchone()
    replace(110)
    with engine.connect() as con:
        seen = con.execute(ask).fetchone()[0]
    engine.dispose()
    return {109: "yesterday's", 110: "today's"}[seen]


@recipe("SQLAlchemy, as it comes", 'create_engine("duckdb:///usage.duckdb", connect_args={"read_only": True})')
def _(code):
    return pooled()


@recipe("SQLAlchemy, without a pool (as in Superset)", 'create_engine("duckdb:///usage.duckdb", connect_args={"read_only": True}, poolclass=NullPool)')
def _(code):
    return pooled(poolclass=NullPool)


@recipe("SQLAlchemy, money", 'con.execute(text("SELECT sum(amount) FROM usage")).scalar()')
def _(code):
    engine = sqlalchemy.create_engine("duckdb:///" + PATH, connect_args={"read_only": True}, poolclass=NullPool)
    with engine.connect() as con:
        return kind(eval(code, {"con": con, "text": sqlalchemy.text}))


for what, code, run in RECIPES:
    print(json.dumps({"what": what, "code": code, "seen": run(code)}))
