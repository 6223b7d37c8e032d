"""Makes tests/fixtures/parquet/<case>.parquet: rows of training data as pyarrow and pandas write them.

`messages` has lists of structs with a field that is null, `tokens` 64-bit integers; both lie in several groups of rows.

Run: python tests/oracle/parquet_fixture.py
"""

import pyarrow as pa
import pyarrow.parquet as pq
from fixture import FIXTURES, clean_folder


def main() -> None:
    folder = clean_folder(FIXTURES / "parquet")
    messages = [
        [
            {"role": "user", "content": f"question {i}", "name": None},
            {"role": "assistant", "content": f"answer {i} é", "name": None},
        ]
        for i in range(7)
    ]
    table = pa.table({"messages": messages, "tools": pa.array([None] * 7, pa.string()), "id": range(7)})
    for compression in ["none", "snappy", "zstd", "gzip", "brotli", "lz4"]:
        pq.write_table(table, folder / f"messages_{compression}.parquet", row_group_size=3, compression=compression)
    ids = pa.table({"input_ids": [[i, i + 1, i + 2] for i in range(5)], "labels": [[-100, i + 1, i + 2] for i in range(5)]})
    pq.write_table(ids, folder / "tokens.parquet", row_group_size=2)
    texts = pa.table({"text": pa.array(["one", None, "three"])})
    pq.write_table(texts, folder / "texts.parquet")
    for path in sorted(folder.iterdir()):
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
