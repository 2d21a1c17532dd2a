"""`#SBATCH` extraction and script checks; expectations marked "real" were taken from a real sbatch."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.spec import directives
from penstock.spec.directives import ScriptError, check, extract

HEAD = b"#!/bin/sh\n"
NO_INTERPRETER = (
    "This does not look like a batch script.  The first\n"
    "line must start with #! followed by the path to an interpreter.\n"
    "For instance: #!/bin/sh"
)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (b"#SBATCH -n 4\n#SBATCH --mem=2G\n", ["-n", "4", "--mem=2G"]),
        (b"#SBATCH\t--time=7\n", ["--time=7"]),  # real
        (b"#SBATCH--hold\n", ["--hold"]),  # real
        (b"#SBATCH --comment=a\"b c\"d'e f'g#h\n", ["--comment=ab cde fg"]),  # real
        (b'#SBATCH -J "x y"z   # c\n', ["-J", "x yz"]),  # real
        (b"#SBATCH --comment=a\\#b\n", ["--comment=a#b"]),  # real
        (b'#SBATCH --comment="a\\"b"\n', ['--comment=a"b']),  # real
        (b'#SBATCH --comment="a\\\\b"\n', ["--comment=a\\b"]),  # real
        (b"#SBATCH --comment='a\\'b'\n", ["--comment=a'b"]),  # real
        (b"#SBATCH --comment=a\\ b\n", ["--comment=a", "b"]),  # real: a blank ends the word in spite of the backslash
        (b"#SBATCH --comment=a\\ \\ b\n", ["--comment=a"]),  # real: the empty word ends the line
        (b'#SBATCH --comment ""\n#SBATCH -t 4\n', ["--comment", "-t", "4"]),  # real
        (b"#SBATCH --comment=ab \\\n#SBATCH --time=3\n", ["--comment=ab", "--time=3"]),  # real: no continuation lines
        (b"#SBATCH '--comment=x y' \"\"\n", ["--comment=x y"]),  # real
        (b"#SBATCHX\n", ["X"]),  # real
        (b"#SBATCH --comment=$HOME\n", ["--comment=$HOME"]),
        (b"#SBATCH \n#SBATCH # nothing\n", []),
        (b"#SBATCH --comment=\xff\n", ["--comment=\udcff"]),
    ],
)
def test_words_of_a_directive(lines, words):
    assert extract(HEAD + lines) == (words, [])


def test_only_column_zero_counts_and_the_first_command_ends_the_search():
    script = HEAD + b" #SBATCH --foo\n##SBATCH --foo\n\n   \n  # note\n#SBATCH -n1\ntrue\n#SBATCH --foo\n"
    assert extract(script)[0] == ["-n1"]


def test_a_slurm_directive_works_with_a_complaint():
    words, complaints = extract(HEAD + b"#SLURM -H\n")
    assert words == ["-H"]
    assert complaints == ["Change from #SLURM to #SBATCH in your script and verify the options are valid in sbatch"]


def test_an_unmatched_quote_names_file_line_and_rest():
    with pytest.raises(ScriptError) as caught:
        extract(HEAD + b'#SBATCH -H --comment="abc\n', "job.sh")
    assert caught.value.texts == ['job.sh: line 2: Unmatched `"` in [ --comment="abc]']
    assert (caught.value.severity, caught.value.status) == ("fatal", 1)


def test_heterogeneous_jobs_are_refused():
    with pytest.raises(ScriptError, match="line 3 of s: heterogeneous"):
        extract(HEAD + b"#SBATCH -n1\n#SBATCH hetjob\n#SBATCH -n2\n", "s")


def test_the_number_of_words_is_bounded():
    with pytest.raises(ScriptError, match="more than 4096 words"):
        extract(HEAD + b"#SBATCH " + b"a " * 5000)


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (b"", "Batch script is empty!"),
        (b"  \n\n", "Batch script contains only whitespace!"),
        (b"echo hi\n", NO_INTERPRETER),
        (b"\n#!/bin/sh\n", NO_INTERPRETER),
        (b"#!/bin/sh\r\necho\r\n", "Batch script contains DOS line breaks (\\r\\n)\ninstead of expected UNIX line breaks (\\n)."),
        (b"#!/bin/sh\n\0", "The Slurm controller does not allow scripts that\ncontain a NULL character '\\0'."),
    ],
)
def test_scripts_that_are_refused(script, text):
    with pytest.raises(ScriptError) as caught:
        check(script)
    assert str(caught.value) == text
    assert caught.value.status == 1


def test_a_script_of_the_largest_size_passes_and_one_byte_more_does_not():
    largest = HEAD + b"a" * (directives.MAX_SCRIPT_BYTES - len(HEAD))
    check(largest)
    with pytest.raises(ScriptError, match="larger than 4194304 bytes"):
        check(largest + b"a")


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_give_words_or_a_script_error(script):
    try:
        words, complaints = extract(HEAD + script)
    except ScriptError as error:
        assert error.texts
    else:
        assert all(isinstance(word, str) and word for word in words)
        assert len(complaints) <= script.count(b"#SLURM")


@settings(deadline=None)
@given(st.lists(st.text(st.characters(blacklist_characters="\0\n", blacklist_categories=["Cs"]), min_size=1), max_size=5))
def test_quoted_words_come_back_as_they_were(words):
    quoted = " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words)
    assert extract(HEAD + b"#SBATCH -J " + quoted.encode() + b"\n")[0] == ["-J", *words]
