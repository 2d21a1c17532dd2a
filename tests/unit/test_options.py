"""The option parser and the option tables: getopt's rules, the sources' precedence, and evidence for every entry."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_controller import StubController, frame

from penstock.spec import options, options_control, options_help, options_submit, options_view
from penstock.spec.options import InvalidOption, destination, entries, is_true, merge, nearest, parse
from penstock.spec.options_submit import OPTIONS

ROOT = Path(__file__).resolve().parents[2]
SBATCH = entries(OPTIONS, "sbatch")
SRUN = entries(OPTIONS, "srun")
TABLES = {
    **{program: entries(OPTIONS, program) for program in ("sbatch", "salloc", "srun")},
    **{name.lower(): getattr(options_view, name) for name in ("SQUEUE", "SINFO", "SACCT", "SSTAT", "SDIAG")},
    **{name.lower(): getattr(options_control, name) for name in ("SCANCEL", "SCONTROL", "SATTACH")},
}
EVERY = [(program, entry) for program, table in TABLES.items() for entry in table]


def given_by(arguments, known=SBATCH, program="sbatch", permute=False):
    settings, words = parse(arguments, known, program, permute)
    return [(destination(entry), value) for entry, value in settings], words


def failure(arguments, known=SBATCH, program="sbatch"):
    with pytest.raises(InvalidOption) as caught:
        parse(arguments, known, program)
    return caught.value


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        (["--ntasks=4"], [("ntasks", "4")], []),
        (["--ntasks", "4", "x", "-n", "5"], [("ntasks", "4")], ["x", "-n", "5"]),
        (["-n4", "-n", "4"], [("ntasks", "4"), ("ntasks", "4")], []),
        (["-n=4"], [("ntasks", "=4")], []),
        (["--job=x"], [("job_name", "x")], []),
        (["--gpus", "2"], [("gpus", "2")], []),
        (["-Qvvn2"], [("quiet", None), ("verbose", None), ("verbose", None), ("ntasks", "2")], []),
        (["--nice", "5"], [("nice", None)], ["5"]),
        (["--nice=5", "--nice="], [("nice", "5"), ("nice", "")], []),
        (["-H", "--", "-n4"], [("hold", None)], ["-n4"]),
        (["-", "-H"], [], ["-", "-H"]),
        (["--comment=a=b"], [("comment", "a=b")], []),
        (["--comment", "--hold"], [("comment", "--hold")], []),
        (["--tasks-per-node=2"], [("ntasks_per_node", "2")], []),
    ],
)
def test_getopt_forms(arguments, settings, words):
    assert given_by(arguments) == (settings, words)


def test_an_optional_value_is_taken_only_when_glued():
    assert given_by(["-I60", "-I", "60"], SRUN, "srun") == ([("immediate", "60"), ("immediate", None)], ["60"])
    assert given_by(["-K1"], SRUN, "srun") == ([("kill_on_bad_exit", "1")], [])


def test_permuting_commands_take_options_after_words():
    assert given_by(["12", "--signal", "USR1", "13"], options_control.SCANCEL, "scancel", True) == ([("signal", "USR1")], ["12", "13"])


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["--foo=1"], ["sbatch: unrecognized option '--foo=1'"]),
        (["--tim"], ["sbatch: option '--tim' is ambiguous; possibilities: '--time' '--time-min'"]),
        (["-z"], ["sbatch: invalid option -- 'z'"]),
        (["-n"], ["sbatch: option requires an argument -- 'n'"]),
        (["--begin"], ["sbatch: option '--begin' requires an argument"]),
        (["--hold=1"], ["sbatch: option '--hold' doesn't allow an argument"]),
    ],
)
def test_errors_have_getopts_words(arguments, lines):
    error = failure(arguments)
    assert error.lines[0] == lines[0]
    assert error.lines[-1] == 'Try "sbatch --help" for more information'
    assert error.status == 255


def test_an_unknown_option_is_told_with_the_nearest_name():
    assert failure(["--partion=x"]).lines[1] == "sbatch: the nearest known option is '--partition'"
    assert nearest("gpu-per-node", SBATCH) == "gpus-per-node"
    assert nearest("zzzzzzzzzzzz", SBATCH) == ""


def test_other_commands_exit_with_one():
    assert failure(["--foo"], options_view.SQUEUE, "squeue").status == 1


def test_aliases_of_one_destination_are_not_ambiguous():
    assert given_by(["--account=x"], options_view.SQUEUE, "squeue") == ([("account", "x")], [])
    assert given_by(["--accoun=x"], options_view.SQUEUE, "squeue") == ([("account", "x")], [])


@pytest.mark.parametrize(
    ("program", "entry"), [(p, e) for p, e in EVERY if e[options.STATUS] == options.REFUSED], ids=lambda x: str(x)[:40]
)
def test_every_refused_option_fails_loudly(program, entry):
    value = {options.NONE: "", options.REQUIRED: "=7@?", options.OPTIONAL: "=7@?"}[entry[options.ARGUMENT]]
    error = failure([f"--{entry[options.LONG]}{value}"], TABLES[program], program)
    expected = f"{program}: error: option --{entry[options.LONG]} is not supported by this version of Penstock ({entry[options.EVIDENCE]})"
    assert error.lines == [expected]
    assert error.status == 1


def test_a_refused_option_may_ask_for_what_happens_anyway():
    assert given_by(["--mpi=none"], SRUN, "srun") == ([("mpi", "none")], [])
    assert "PMI" in failure(["--mpi=pmix"], SRUN, "srun").lines[0]


def test_a_warned_option_tells_what_does_not_happen():
    settings, _ = parse(["--gpu-bind=closest", "--gpu-bind=single:1"], SBATCH, "sbatch")
    merged = merge(SBATCH, "sbatch", {}, settings)
    assert merged.warnings == ["--gpu-bind: every task of a step sees all GPUs of the step on its node"]


def merged_of(command_line, environment=None, script=(), program="sbatch"):
    known = TABLES[program]
    return merge(known, program, environment or {}, parse(command_line, known, program)[0], parse(script, known, program)[0])


def test_the_command_line_beats_the_environment_and_that_the_script():
    script, environment = ["-Afromscript", "-pfromscript", "-qfromscript"], {"SBATCH_ACCOUNT": "env", "SBATCH_PARTITION": "env"}
    merged = merged_of(["-Acli"], environment, script)
    assert (merged.text("account"), merged.text("partition"), merged.text("qos")) == ("cli", "env", "fromscript")


def test_within_one_source_the_last_one_wins():
    assert merged_of(["-n1", "--ntasks=3"]).text("ntasks") == "3"


def test_a_flag_may_mean_a_value():
    assert merged_of(["--no-requeue"]).values == {"requeue": "no"}
    assert merged_of(["--no-bell"], program="salloc").values == {"bell": "no"}
    assert merged_of(["--requeue"], {"SBATCH_NO_REQUEUE": ""}).values == {"requeue": None}


@pytest.mark.parametrize(
    ("value", "on"), [("", True), ("yes", True), ("YES", True), ("1", True), ("-2", True), ("0", False), ("no", False), ("x", False)]
)
def test_input_variables_of_flags(value, on):
    assert is_true(value) == on
    assert ("wait" in merged_of([], {"SBATCH_WAIT": value})) == on


def test_a_command_reads_only_variables_of_its_own_prefix():
    environment = {"SALLOC_ACCOUNT": "a", "SLURM_ACCOUNT": "r", "SLURM_NTASKS": "8"}
    assert merged_of([], environment).values == {}
    assert merged_of([], environment, program="salloc").values == {"account": "a"}
    assert merged_of([], environment, program="srun").values == {"account": "r", "ntasks": "8"}


def test_a_refused_option_in_the_environment_names_the_variable():
    with pytest.raises(InvalidOption, match="SBATCH_CONTAINER: option --container is not supported"):
        merged_of([], {"SBATCH_CONTAINER": "/bundle"})


def test_verbosity_is_counted():
    assert merged_of(["-vv"], script=["-v"]).text("verbose") == "2"
    assert merged_of([], {"SBATCH_DEBUG": "3"}).text("verbose") == "3"


def test_memory_options_exclude_each_other_within_one_source_only():
    assert merged_of(["--mem-per-cpu=1"], script=["--mem=2"]).values == {"mem_per_cpu": "1"}
    with pytest.raises(InvalidOption) as caught:
        merged_of(["--mem-per-cpu=1", "--mem=2"])
    assert caught.value.lines == ["sbatch: fatal: --mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive."]


def test_the_number_of_arguments_is_bounded():
    assert "at most 65536" in failure(["-H"] * (options.ARGUMENTS_MAX + 1)).lines[0]


@settings(deadline=None)
@given(
    st.sampled_from(sorted(TABLES)),
    st.lists(st.one_of(st.text(max_size=12), st.sampled_from(["-n", "--mem", "-vvv", "--", "--x=", "-I60", "--no", "-"]))),
)
def test_arbitrary_arguments_parse_or_give_a_defined_error(program, arguments):
    known = TABLES[program]
    try:
        settings, words = parse(arguments, known, program, permute=True)
        merge(known, program, {}, settings)
    except InvalidOption as error:
        assert error.lines
        assert error.status in (1, 255)
    else:
        assert len(words) <= len(arguments)


def test_every_table_is_well_formed():
    for program, table in TABLES.items():
        longs = [entry[options.LONG] for entry in table]
        shorts = [entry[options.SHORT] for entry in table if entry[options.SHORT]]
        assert len(set(longs)) == len(longs), program
        assert len(set(shorts)) == len(shorts), program
        for entry in table:
            assert len(entry) == 8
            assert entry[options.ARGUMENT] in (options.NONE, options.REQUIRED, options.OPTIONAL)
            assert entry[options.STATUS] in (options.SUPPORTED, options.RECORDED, options.WARNED, options.REFUSED)
            assert all(variable.isidentifier() for variable in entry[options.ENVIRONMENT].split())


def test_what_does_not_work_says_why():
    for _, entry in EVERY:
        if entry[options.STATUS] in (options.WARNED, options.REFUSED):
            assert len(entry[options.EVIDENCE]) > 8, entry


def test_every_working_option_has_a_line_of_help():
    for program, entry in EVERY:
        if entry[options.STATUS] in (options.SUPPORTED, options.RECORDED):
            key = destination(entry)
            assert key in options_help.HELP or f"{program}.{key}" in options_help.HELP, f"{program} --{entry[options.LONG]}"


def test_every_help_text_belongs_to_an_option():
    known = {destination(entry) for _, entry in EVERY} | {entry[options.LONG].replace("-", "_") for _, entry in EVERY}
    for key in options_help.HELP:
        assert key.rpartition(".")[2] in known, key


STANDARD = {
    "__future__",
    "os",
    "os.path",
    "posixpath",
    "genericpath",
    "stat",
    "_stat",
    "_collections_abc",
    "abc",
    "_abc",
    "time",
    "_socket",
    "pwd",
}
CLIENT = "spec.options wire.lite"
SBATCH_LOADS = f"{CLIENT} cli.sbatch spec.options_submit spec.directives spec.export spec.request spec.request_values spec.submitter"
ALLOWED = {
    "sbatch --wrap=true": SBATCH_LOADS,
    "sbatch --wrap=true --mem=1G -t5 --gres=gpu:1 -n4": f"{SBATCH_LOADS} spec.errors spec.quantities spec.times spec.gres",
    "sbatch --version": f"{SBATCH_LOADS} cli.manual",
    "scancel 12": f"{CLIENT} cli.scancel spec.options_control spec.errors spec.jobids spec.arrays",
    "scancel -u root": f"{CLIENT} cli.scancel spec.options_control",
}


@pytest.mark.parametrize("line", sorted(ALLOWED))
def test_a_command_imports_only_what_its_list_says(line):
    program, *arguments = line.split()
    run = f"import sys; before = set(sys.modules); from penstock.cli.{program} import main; main({arguments!r})"
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); {run}; print('', *sorted(set(sys.modules) - before))"
    with StubController([frame("=", "12\tjob\t0\t")]) as controller:
        environment = {"PENSTOCK_DIR": str(controller.folder)}
        done = subprocess.run([sys.executable, "-I", "-S", "-c", code], env=environment, capture_output=True, text=True, check=True)
    ours = {f"penstock.{name}" for name in ALLOWED[line].split()} | {"penstock", "penstock.cli", "penstock.spec", "penstock.wire"}
    assert set(done.stdout.splitlines()[-1].split()) <= ours | STANDARD | set(sys.builtin_module_names)


def test_the_tables_are_read_without_imports():
    assert not {name for name in vars(options_submit) if name[0] != "_"} & {"os", "sys"}
