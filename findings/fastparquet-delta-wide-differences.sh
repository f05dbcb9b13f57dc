#!/usr/bin/env bash
# fastparquet 2026.9.0 reads an INT64 column of the encoding DELTA_BINARY_PACKED wrong, without an error, where neighbours differ by much.
# Seen: 1,000 numbers, each 2**30 away from the one before it, up and down in turns. Written by pyarrow 25.0.1, read back right by pyarrow;
# fastparquet gives other numbers. With differences below 2**20 it gives the right ones. Exit status 1 if that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check fastparquet==2026.9.0 pyarrow==25.0.1 pandas==3.1.1
cd "$work"
"$work/venv/bin/python" - <<'PY'
import fastparquet
import pyarrow
import pyarrow.parquet


def read_back(step):
    values = [5_000_000_000 + (i % 2) * step + i * 7 for i in range(1000)]
    pyarrow.parquet.write_table(pyarrow.table({"n": pyarrow.array(values, pyarrow.int64())}), "n.parquet", use_dictionary=False,
                                column_encoding={"n": "DELTA_BINARY_PACKED"}, data_page_version="1.0")
    by_pyarrow = pyarrow.parquet.read_table("n.parquet")["n"].to_pylist()
    by_fastparquet = fastparquet.ParquetFile("n.parquet").to_pandas()["n"].tolist()
    wrong = sum(a != b for a, b in zip(values, by_fastparquet))
    print(f"differences of about {step:,}: pyarrow {'right' if by_pyarrow == values else 'wrong'}, fastparquet {wrong} of 1000 wrong, sum {sum(by_fastparquet)} for {sum(values)}")
    return by_pyarrow == values, wrong


small, large = read_back(2**19), read_back(2**30)
raise SystemExit(0 if small == (True, 0) and large[0] and large[1] > 0 else 1)
PY
