"""TOML, JSON and plain text that people write: any byte order mark, any depth, one line."""

import pytest
from aubench_baselines.precomputed import read_card

from aubench.errors import AubenchError
from aubench.facs import load_facs
from aubench.protocols.sealed_draws import read_seed
from aubench.records.record import read_record
from aubench.report.figures.scores import read_log
from aubench.storage.text_files import check_utf8, decode_text, parse_json, parse_toml
from aubench.study.design.settings import read_settings

MARKS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]


@pytest.mark.parametrize("encoding", MARKS)
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path, small_runs, encoding):
    def written(name, text):
        (tmp_path / name).write_bytes(text.encode(encoding))
        return tmp_path / name

    assert read_card(written("card.toml", 'name = "théirs"\n'.replace("é", "e"))).name == "theirs"
    record = small_runs["oracle"] / "record.json"
    assert read_record(written("record.json", record.read_text())) == read_record(record)
    assert read_seed(written("seed.txt", "0123456789abcdef\n")) == "0123456789abcdef"
    assert read_settings(written("study.toml", "")) == read_settings(None)
    assert read_log(written("a.jsonl", '{"step": 1, "loss": 2}\n')) == {"loss": ([1.0], [2.0])}
    assert read_log(written("a.csv", "step;loss\r\n1;2,5\r\n")) == {"loss": ([1.0], [2.5])}


DEEP = "[" * 100_000


@pytest.mark.parametrize("text", [DEEP, f'{{"a": {DEEP}', "{" * 100_000, "nul", "1" * 5000])
def test_what_is_no_toml_or_json_says_so(text):
    for parse in (parse_json, parse_toml):
        with pytest.raises(ValueError, match=r"\w+"):
            parse(text)


@pytest.mark.parametrize("text", [f"a = {DEEP}", "a = ", "[a", "a = 1\na = 2\n", "a = '\xff"])
@pytest.mark.parametrize("read", [read_card, load_facs, read_settings])
def test_toml_of_people_ends_in_one_line(tmp_path, read, text):
    path = tmp_path / "a.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(AubenchError, match=r"a\.toml") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), lambda p: p.symlink_to("nowhere")])
def test_a_card_that_is_no_file_is_not_passed_over(tmp_path, make):
    make(tmp_path / "card.toml")
    with pytest.raises(AubenchError, match=r"cannot read .*card\.toml"):
        read_card(tmp_path / "card.toml")


def test_the_line_of_a_foreign_letter_is_named():
    with pytest.raises(ValueError, match="line 3 is not UTF-8"):
        decode_text(b"a\n\nb\xe9\n")
    with pytest.raises(ValueError, match="is not UTF-16 text"):
        decode_text(b"\xff\xfea")
    with pytest.raises(AubenchError, match=r"the name 'a\\xe9' is not UTF-8; give it another"):
        check_utf8("fine", "a\udce9")
