"""Damaged variants of a valid cohort folder: one clear listing, or a whole cohort."""

from __future__ import annotations

import csv
import io
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from crpnet_bench.errors import CRPNetBenchError
from crpnet_bench.home import Home
from crpnet_bench.registry import views
from crpnet_bench.registry.load import load_cohort
from crpnet_bench.registry.store import Registry

FAST, ALL = 50, 500
FILES = ("clinical.csv", "slides.csv", "cohort.toml", "splits/one.csv")
NASTY = (
    "", " ", "inf", "-inf", "nan", "1e999", "-1e-999", "=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)",
    "-5", "99999999999999999999999", "0x1F", "1_000", "1,5", "2020-01-01", "NULL", "None", "-",
    "\u202egnp.exe", "\x00", "\x07", "'; DROP TABLE patients; --", '"', '""', "a,b", "a\nb",
    "ß\u0301\U0001f600", "../../etc/passwd", "/dev/zero", "x" * 300, "y" * 10_000_000, "True",
    "①", "٣", "１２", "{}", "[1]", "\ufeff", "1e400", "0.0.0", "TX", "G5", "M2", "\\", "%s",
)  # fmt: skip

Damage = Callable[[random.Random, Path], None]


def table(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))


def put(path: Path, rows: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def a_table(rng: random.Random, folder: Path) -> Path:
    return folder / rng.choice([name for name in FILES if name.endswith(".csv")])


def flipped_bytes(rng: random.Random, folder: Path) -> None:
    path = folder / rng.choice(FILES)
    content = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 8)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(bytes(content))


def truncated(rng: random.Random, folder: Path) -> None:
    path = folder / rng.choice(FILES)
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def nasty_cells(rng: random.Random, folder: Path) -> None:
    path = a_table(rng, folder)
    rows = table(path)
    for _ in range(rng.randint(1, 4)):
        row = rng.choice(rows)
        row[rng.randrange(len(row))] = rng.choice(NASTY)
    put(path, rows)


def lost_column(rng: random.Random, folder: Path) -> None:
    path = a_table(rng, folder)
    rows = table(path)
    place = rng.randrange(len(rows[0]))
    put(path, [row[:place] + row[place + 1 :] for row in rows])


def lost_cell(rng: random.Random, folder: Path) -> None:
    path = a_table(rng, folder)
    rows = table(path)
    row = rng.choice(rows)
    if rng.random() < 0.5:
        del row[rng.randrange(len(row))]
    else:
        row.append(rng.choice(NASTY[:20]))
    put(path, rows)


def column_twice(rng: random.Random, folder: Path) -> None:
    path = a_table(rng, folder)
    rows = table(path)
    place = rng.randrange(len(rows[0]))
    put(path, [[*row, row[place]] for row in rows])


def column_of_another_type(rng: random.Random, folder: Path) -> None:
    path = a_table(rng, folder)
    rows = table(path)
    place = rng.randrange(len(rows[0]))
    value = rng.choice(NASTY[:30])
    put(path, [rows[0], *([*row[:place], value, *row[place + 1 :]] for row in rows[1:])])


def rows_again(rng: random.Random, folder: Path) -> None:
    path = a_table(rng, folder)
    rows = table(path)
    rows.insert(rng.randrange(1, len(rows)), list(rng.choice(rows)))
    put(path, rows)


def no_rows(rng: random.Random, folder: Path) -> None:
    path = a_table(rng, folder)
    put(path, table(path)[: rng.choice([0, 1, 2])])


def encoded(rng: random.Random, folder: Path) -> None:
    path = folder / rng.choice(FILES)
    text = path.read_text(encoding="utf-8").replace("P0", rng.choice(["Pé", "P0", "Pñ"]))
    encoding = rng.choice(["latin-1", "utf-16", "utf-16-le", "utf-8-sig", "utf-32", "cp1252"])
    path.write_bytes(text.encode(encoding))


def as_workbook(rng: random.Random, folder: Path) -> None:
    book = openpyxl.Workbook()
    for row in table(folder / "clinical.csv"):
        book.active.append(row)
    if rng.random() < 0.3:
        book.active.cell(row=3, column=rng.randint(1, 8)).value = "=A1&B1"
    path = folder / "clinical.xlsx"
    book.save(path)
    content = bytearray(path.read_bytes())
    damage = rng.random()
    if damage < 0.4:
        content = content[: rng.randrange(len(content))]
    elif damage < 0.8:
        for _ in range(rng.randint(1, 30)):
            content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(bytes(content))
    point_to(folder, "clinical.xlsx")


def as_parquet(rng: random.Random, folder: Path) -> None:
    rows = table(folder / "clinical.csv")
    frame = pd.DataFrame(rows[1:], columns=rows[0])
    name = rng.choice(list(frame.columns))
    change = rng.random()
    if change < 0.3:
        frame[name] = [[1, 2]] * len(frame)
    elif change < 0.6:
        frame[name] = rng.choice([1, 2.5, float("inf"), b"bytes", None, pd.Timestamp("2020-01-01")])
    path = folder / "clinical.parquet"
    frame.to_parquet(path)
    content = bytearray(path.read_bytes())
    if rng.random() < 0.4:
        content = content[: rng.randrange(len(content))]
    elif rng.random() < 0.5:
        for _ in range(rng.randint(1, 30)):
            content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(bytes(content))
    point_to(folder, "clinical.parquet")


def point_to(folder: Path, name: str) -> None:
    manifest = folder / "cohort.toml"
    manifest.write_text(manifest.read_text().replace('"clinical.csv"', f'"{name}"'))


def file_gone(rng: random.Random, folder: Path) -> None:
    path = folder / rng.choice(FILES)
    path.unlink()
    kind = rng.random()
    if kind < 0.3:
        path.mkdir()
    elif kind < 0.6:
        path.write_bytes(b"")
    elif kind < 0.7:
        path.symlink_to(path)


def manifest_lines(rng: random.Random, folder: Path) -> None:
    path = folder / "cohort.toml"
    lines = path.read_text().splitlines()
    place = rng.randrange(len(lines))
    change = rng.random()
    if change < 0.3:
        del lines[place]
    elif change < 0.5:
        lines.insert(rng.randrange(len(lines)), lines[place])
    else:
        key = lines[place].split("=")[0]
        lines[place] = f"{key}= " + rng.choice(
            ['5', '""', "[]", "{}", "true", "inf", '"?"', "1979-05-27", "[[[[1]]]]", '{column = 3}',
             '{column = "Case", pattern = "(("}', '{column = "Age", map = {"*" = 7}}', "-1",
             '"' + "z" * 5000 + '"', '{column = "Case", otherwise = "x"}']
        )  # fmt: skip
    path.write_text("\n".join(lines))


def manifest_extras(rng: random.Random, folder: Path) -> None:
    extra = rng.choice(
        [
            '[[exclude]]\nrule = "M == \'M1"\nreason = "x"\n',
            '[[exclude]]\nrule = "age > -1"\nreason = "everybody"\n',
            '[[exclude]]\nrule = "M > 3"\nreason = "x"\n',
            '[[exclude]]\nrule = "__import__"\nreason = "x"\n',
            '[scores.karakiewicz]\ntable = "none.toml"\n',
            "[scores.ssign]\npt4_points = 'four'\n",
            "[scores.ssign]\npt4 = 4\n",
            '[clinical.extra]\nage = "Age"\n',
            '[clinical.extra]\nbmi = "Nope"\n',
            '[[further_outcomes]]\nendpoint = "RFS"\n',
            '[[further_outcomes]]\nendpoint = "OS"\norigin = "surgery"\ntime_unit = "days"\n'
            'time = "Case"\nevent = "T"\n',
            '[outcome.components]\nlocal = "T"\n',
        ]
    )
    path = folder / "cohort.toml"
    path.write_text(path.read_text() + extra)


DAMAGES: tuple[Damage, ...] = (
    flipped_bytes, truncated, nasty_cells, nasty_cells, nasty_cells, lost_column, lost_cell,
    column_twice, column_of_another_type, rows_again, no_rows, encoded, as_workbook, as_workbook,
    as_parquet, file_gone, manifest_lines, manifest_lines, manifest_extras,
)  # fmt: skip


@pytest.fixture
def pristine(cohort_folder) -> Path:
    rows = [
        f"{patient},0,0,{'train' if number < 16 else 'validation'}"
        for number, patient in enumerate(cohort_folder.ids)
    ]
    cohort_folder.write("splits/one.csv", "patient_id,repeat,fold,role\n" + "\n".join(rows) + "\n")
    return cohort_folder.path


def try_variants(pristine: Path, tmp_path: Path, seeds: range, *, store: bool) -> tuple[int, int]:
    """Registers each variant; returns how many were taken and how many refused."""
    taken = refused = 0
    for seed in seeds:
        rng = random.Random(seed)  # noqa: S311 repeatable damage, no secret
        folder, home = tmp_path / f"v{seed}", Home(tmp_path / f"h{seed}")
        shutil.copytree(pristine, folder)
        damage = DAMAGES[seed % len(DAMAGES)]
        damage(rng, folder)
        try:
            loaded = load_cohort(folder)
            if store:
                with Registry(home).write() as registry:
                    registry.register_cohort(loaded)
        except CRPNetBenchError as error:
            refused += 1
            text = str(error)
            assert "expected" in text, (seed, damage.__name__, text[:300])
            assert max(len(line) for line in text.splitlines()) < 2_000, (seed, damage.__name__)
            assert not home.root.exists(), (seed, damage.__name__)
        else:
            taken += 1
            assert len(loaded.patients) > 0
            assert loaded.patients["patient_id"].is_unique
            assert set(loaded.outcomes["patient_id"]) <= set(loaded.patients["patient_id"])
            if store:
                assert len(views.patients(home, loaded.name, with_excluded=True)) == len(
                    loaded.patients
                )
        shutil.rmtree(folder)
    return taken, refused


def test_damaged_variants_end_in_one_listing_or_a_whole_cohort(pristine, tmp_path):
    taken, refused = try_variants(pristine, tmp_path, range(FAST), store=False)
    assert taken >= 3
    assert refused >= 20


@pytest.mark.slow
def test_five_hundred_damaged_variants(pristine, tmp_path):
    taken, refused = try_variants(pristine, tmp_path, range(1_000, 1_000 + ALL), store=True)
    assert taken + refused == ALL
    assert taken >= 30
    assert refused >= 250
