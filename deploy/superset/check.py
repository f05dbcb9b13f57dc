"""Asks each chart of the imported dashboard, by Superset's own way, and holds what it says against the file."""

import json
import os
import shutil
import sys
from decimal import Decimal

import duckdb
from superset.app import create_app

path = sys.argv[1]
app = create_app()


def ask(chart):
    from superset.charts.schemas import ChartDataQueryContextSchema
    from superset.commands.chart.data.get_data_command import ChartDataCommand

    context = json.loads(chart.query_context)
    context["force"] = False  # as a dashboard asks: what a cache keeps would be shown
    command = ChartDataCommand(ChartDataQueryContextSchema().load(context))
    command.validate()
    (answer,) = command.run()["queries"]
    if answer.get("error"):
        sys.exit(f"{chart.slice_name}: {answer['error']}")
    return answer["data"]


def charged():
    with duckdb.connect(path, read_only=True) as file:
        return dict(file.execute("SELECT cost_center, sum(net_cost) FROM bi.charges_daily GROUP BY ALL").fetchall())


with app.app_context():
    from superset import db, security_manager
    from superset.models.dashboard import Dashboard
    from superset.utils.core import override_user

    with override_user(security_manager.find_user("admin")):
        dashboard = db.session.query(Dashboard).filter_by(slug="usagelake-cost").one()
        charts = {chart.slice_name: chart for chart in dashboard.slices}
        shown = {name: ask(chart) for name, chart in charts.items()}
        print(f"{dashboard.dashboard_title}: " + ", ".join(f"{name} {len(rows)} rows" for name, rows in sorted(shown.items())))
        if len(charts) != 6 or not all(shown.values()):
            sys.exit("a chart lacks, or shows nothing")

        def centers():
            return {row["cost_center"]: Decimal(str(row["net_cost"])) for row in ask(charts["By cost centre"])}

        def same(have, want):
            # Superset hands numbers to the browser as doubles: some fifteen digits of them.
            return have.keys() == want.keys() and all(abs(have[c] - want[c]) < Decimal("1e-9") for c in want)

        before = charged()
        if not same(centers(), before):
            sys.exit(f"Superset shows {centers()}, the file has {before}")
        # A publish: another file by the same name, by one rename.
        shutil.copy(path, path + ".new")
        with duckdb.connect(path + ".new") as file:
            file.execute("DELETE FROM chargeback_daily WHERE cost_center = (SELECT max(cost_center) FROM chargeback_daily)")
        os.replace(path + ".new", path)
        after = charged()
        if after == before or not same(centers(), after):
            sys.exit(f"after a publish Superset shows {centers()}, the file has {after}")
        print("It shows what was published since.")
