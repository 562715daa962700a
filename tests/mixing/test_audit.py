"""The audit finds what is planted, passes what is clean, and reads lists as they are published."""

import gzip
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from avsep.cli.app import app
from avsep.errors import CheckError
from avsep.mixing.audit import LEAKS, Listing, audit, read_listings
from avsep.mixing.external_lists import (
    ListedMixture,
    ListedVoice,
    parse_utterance,
    read_external_list,
    read_genders,
)


def voice(speaker: str, number: int = 0, **changes) -> ListedVoice:
    values = {
        "utterance": f"{speaker}-{number}",
        "speaker": speaker,
        "programme": f"video-{speaker}",
        "sha256": f"sha-{speaker}-{number}",
    }
    return ListedVoice(**(values | changes))


def mixture(*voices: ListedVoice) -> ListedMixture:
    return ListedMixture(voices=voices, seconds=2.0)


VAL = Listing(
    name="val",
    mixtures=[mixture(voice("a"), voice("b")), mixture(voice("a", 1), voice("c"))],
)
TEST = Listing(name="test", mixtures=[mixture(voice("d"), voice("e"))])


def leaks(*listings: Listing) -> list[str]:
    return [finding.leak for finding in audit(listings).findings]


def test_a_clean_pair_of_lists_passes():
    assert leaks(VAL, TEST) == []


@pytest.mark.parametrize(
    ("leak", "planted"),
    [
        ("shared-speaker", [mixture(voice("a", 7, programme="video-new"), voice("e"))]),
        ("shared-programme", [mixture(voice("f", programme="video-a"), voice("e"))]),
        (
            "shared-utterance",
            [mixture(voice("f", utterance="a-0", sha256=""), voice("e"))],
        ),
        ("shared-sound", [mixture(voice("f", sha256="sha-a-0"), voice("e"))]),
        (
            "shared-mixture",
            [
                mixture(
                    voice("x", utterance="b-0", sha256=""), voice("y", utterance="a-0", sha256="")
                )
            ],
        ),
        ("same-speaker", [mixture(voice("d"), voice("d", 1))]),
        ("repeated-mixture", [mixture(voice("e"), voice("d"))]),
    ],
)
def test_each_of_seven_planted_leaks_is_found(leak, planted):
    found = leaks(VAL, replace(TEST, mixtures=[*TEST.mixtures, *planted]))
    assert leak in found
    # Nothing else, but that a mixture is never shared without its utterances.
    assert set(found) - {leak} <= ({"shared-utterance"} if leak == "shared-mixture" else set())
    assert len(LEAKS) == 7


def test_programmes_stand_for_speakers_where_there_are_none():
    one, other = (replace(voice("d", n), speaker="") for n in range(2))
    assert leaks(Listing(name="x", mixtures=[mixture(one, other)])) == ["same-speaker"]


def test_counts_reuse_genders_and_hours():
    (summary,) = audit([VAL], {"a": "f", "b": "m"}).summaries
    assert (summary.mixtures, summary.utterances, summary.speakers) == (2, 4, 3)
    assert summary.max_reuse == 1
    assert summary.genders == {"?f": 1, "fm": 1}
    again = replace(VAL, mixtures=[*VAL.mixtures, mixture(voice("a"), voice("d"))] * 900)
    (summary,) = audit([again]).summaries
    assert summary.max_reuse == 1800
    assert summary.hours == 1.5


# --- published lists -----------------------------------------------------------------------------


def test_ids_are_read_by_width_whatever_the_video_is_called():
    vox = parse_utterance("id06816__55DIvP6cKY_00145")
    assert (vox.speaker, vox.programme) == ("id06816", "_55DIvP6cKY")
    vox = parse_utterance("id08696_a-_b_c_d_e-_00472")
    assert vox.programme == "a-_b_c_d_e-"
    lrs2 = parse_utterance("6326553828952690654_00001")
    assert (lrs2.speaker, lrs2.programme) == ("", "6326553828952690654")
    assert parse_utterance("_0123456-89_50003").programme == "_0123456-89"
    for name in ("id0681_55DIvP6cKYx_00145", "noise", "id06816__55DIvP6cKY_00145.wav"):
        with pytest.raises(ValueError, match="is not an utterance"):
            parse_utterance(name)


def test_lists_of_muse_name_their_splits(tmp_path):
    path = tmp_path / "mix.csv.gz"
    rows = [
        "train,train,id08108,RCODGWdfzdY/00197,0,train,id07077,oi72_HHDWY4/00288,0.89,4.096",
        "test,test,id00017,01dfn2spqyE/00001,0,test,id00061,cAT9aR8oFx0/00141,-7.5,6.0",
    ]
    path.write_bytes(gzip.compress("\n".join(rows).encode()))
    found = read_external_list(path)
    assert list(found) == ["train", "test"]
    (mixed,) = found["train"]
    assert mixed.seconds == 4.096
    assert [v.utterance for v in mixed.voices] == [
        "id08108_RCODGWdfzdY_00197",
        "id07077_oi72_HHDWY4_00288",
    ]
    assert mixed.voices[1].level_db == 0.89


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.txt", "x", "is not a known list"),
        ("a.scp", "", "has no mixtures"),
        ("a.scp", "one.wav 1 two.wav\n", "line 1: it has 3 fields"),
        ("a.scp", "a.wav 1 b.wav -1\n", "'a' is not an utterance"),
        ("a.scp", f"{'1' * 19}_00001.wav nan {'2' * 19}_00001.wav 1\n", "not a finite number"),
        ("a.csv", "train,1\n", "has 2 fields"),
        ("a.scp", "x" * 5000, "more than 4096 characters"),
        ("a.scp.gz", "no gzip at all\n", "cannot be read"),
    ],
)
def test_damaged_lists_are_refused_with_a_sentence(tmp_path, name, text, sentence):
    (tmp_path / name).write_text(text)
    with pytest.raises(CheckError, match=sentence):
        read_external_list(tmp_path / name)


def test_table_of_speakers_with_mark_and_blanks(tmp_path):
    path = tmp_path / "vox2_meta.csv"
    path.write_bytes(
        b"\xef\xbb\xbfVoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \r\nid00012 ,n000012 ,m ,dev \r\n"
    )
    assert read_genders(path) == ({"id00012": "m"}, {"id00012": "dev"})
    path.write_text("a,b\n")
    with pytest.raises(CheckError, match=r"is not vox2_meta\.csv"):
        read_genders(path)


def test_two_lists_of_one_name_are_refused(tmp_path):
    line = "6326553828952690654_00001.wav 1 6303167732026041278_00001.wav -1\n"
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tt.scp").write_text(line)
    with pytest.raises(CheckError, match="two lists are called tt"):
        read_listings([tmp_path / "a" / "tt.scp", tmp_path / "b" / "tt.scp"])


def test_the_command_fails_on_a_leak_unless_it_is_known(tmp_path):
    line = "6326553828952690654_00001.wav 1 6303167732026041278_00001.wav -1\n"
    for name in ("cv", "tt"):
        (tmp_path / f"{name}.scp").write_text(line)
    run = CliRunner()
    one, other = str(tmp_path / "cv.scp"), str(tmp_path / "tt.scp")
    assert run.invoke(app, ["audit", one]).exit_code == 0
    found = run.invoke(app, ["audit", one, other])
    assert isinstance(found.exception, CheckError)
    assert "shared-programme: 2 in cv and tt" in found.stderr
    kinds = ("shared-programme", "shared-utterance", "shared-mixture")
    known = [word for kind in kinds for word in ("--allow", kind)]
    assert run.invoke(app, ["audit", one, other, *known]).exit_code == 0
