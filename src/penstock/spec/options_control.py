"""Options of scancel, scontrol and sattach. The fields: `penstock.spec.options`.

Guarantees: complete for Slurm 26.05; scontrol's sub-commands are words, not options, and live with the command.
"""

from __future__ import annotations

FLAG, VALUE, MAYBE = 0, 1, 2
YES, WARN, NO = "supported", "warned", "refused"
FEDERATION = "there are no federations yet"

SCANCEL = (
    ("account", "A", VALUE, "", "*", "SCANCEL_ACCOUNT", YES, "test_scancel:test_every_filter_reaches_the_controller"),
    ("admin-comment", "", VALUE, "", "*", "", NO, "jobs have no administrator's comment yet"),
    ("batch", "b", FLAG, "", "*", "SCANCEL_BATCH", YES, "test_scancel:test_batch_and_full"),
    ("clusters", "M", VALUE, "", "*", "SLURM_CLUSTERS", NO, FEDERATION),
    ("cron", "c", FLAG, "", "*", "SCANCEL_CRON", NO, "there are no cron jobs yet"),
    ("ctld", "", FLAG, "", "*", "SCANCEL_CTLD", YES, "test_scancel:test_every_filter_reaches_the_controller"),
    ("full", "f", FLAG, "", "*", "SCANCEL_FULL", YES, "test_scancel:test_batch_and_full"),
    ("help", "", FLAG, "", "*", "", YES, "test_scancel:test_help_usage_version"),
    ("hurry", "H", FLAG, "", "*", "SCANCEL_HURRY", WARN, "there is no burst buffer to stage out"),
    ("interactive", "i", FLAG, "", "*", "SCANCEL_INTERACTIVE", YES, "test_scancel:test_interactive_asks_for_each_job"),
    ("jobname", "", VALUE, "name", "*", "", YES, "test_scancel:test_every_filter_reaches_the_controller"),
    ("me", "", FLAG, "", "*", "", YES, "test_scancel:test_every_filter_reaches_the_controller"),
    ("name", "n", VALUE, "name", "*", "SCANCEL_NAME", YES, "test_scancel:test_every_filter_reaches_the_controller"),
    ("nodelist", "w", VALUE, "", "*", "", YES, "test_scancel:test_every_filter_reaches_the_controller"),
    ("partition", "p", VALUE, "", "*", "SCANCEL_PARTITION", YES, "test_scancel:test_every_filter_reaches_the_controller"),
    ("qos", "q", VALUE, "", "*", "SCANCEL_QOS", YES, "test_scancel:test_every_filter_reaches_the_controller"),
    ("quiet", "Q", FLAG, "", "*", "", YES, "test_scancel:test_quiet_says_nothing"),
    ("reservation", "R", VALUE, "", "*", "", YES, "test_scancel:test_every_filter_reaches_the_controller"),
    ("sibling", "", VALUE, "", "*", "", NO, FEDERATION),
    ("signal", "s", VALUE, "", "*", "", YES, "test_scancel:test_signals"),
    ("state", "t", VALUE, "", "*", "SCANCEL_STATE", YES, "test_scancel:test_states"),
    ("usage", "", FLAG, "", "*", "", YES, "test_scancel:test_help_usage_version"),
    ("user", "u", VALUE, "", "*", "SCANCEL_USER", YES, "test_scancel:test_every_filter_reaches_the_controller"),
    ("verbose", "v", FLAG, "", "*", "SCANCEL_VERBOSE", YES, "test_scancel:test_verbose_tells_errors_of_unknown_jobs"),
    ("version", "V", FLAG, "", "*", "", YES, "test_scancel:test_help_usage_version"),
    ("wckey", "", VALUE, "", "*", "SCANCEL_WCKEY", YES, "test_scancel:test_every_filter_reaches_the_controller"),
)

SCONTROL = (
    ("all", "a", FLAG, "", "*", "SCONTROL_ALL", YES, "test_scontrol"),
    ("cluster", "", VALUE, "clusters", "*", "", NO, FEDERATION),
    ("clusters", "M", VALUE, "", "*", "SLURM_CLUSTERS", NO, FEDERATION),
    ("details", "d", FLAG, "", "*", "", YES, "test_scontrol"),
    ("expand-patterns", "", FLAG, "", "*", "", NO, "file patterns are shown expanded"),
    ("federation", "", FLAG, "", "*", "SCONTROL_FEDERATION", NO, FEDERATION),
    ("future", "F", FLAG, "", "*", "SCONTROL_FUTURE", WARN, "there are no nodes in state FUTURE"),
    ("help", "h", FLAG, "", "*", "", YES, "test_scontrol"),
    ("hide", "", FLAG, "", "*", "", WARN, "there are no hidden partitions"),
    ("json", "", MAYBE, "", "*", "", YES, "test_scontrol"),
    ("local", "", FLAG, "", "*", "SCONTROL_LOCAL", WARN, "there is only the local cluster"),
    ("oneliner", "o", FLAG, "", "*", "", YES, "test_scontrol"),
    ("quiet", "Q", FLAG, "", "*", "", YES, "test_scontrol"),
    ("sibling", "", FLAG, "", "*", "SCONTROL_SIBLING", NO, FEDERATION),
    ("uid", "u", VALUE, "", "*", "", NO, "only for administrators, who have no other identity here yet"),
    ("usage", "", FLAG, "", "*", "", YES, "test_scontrol"),
    ("verbose", "v", FLAG, "", "*", "", WARN, "there is nothing more to say"),
    ("version", "V", FLAG, "", "*", "", YES, "test_scontrol"),
    ("yaml", "", MAYBE, "", "*", "", NO, "use --json"),
)

SATTACH = (
    ("error-filter", "", VALUE, "", "*", "", YES, "test_sattach_command:test_filters_choose_tasks_and_input_reaches_the_chosen_one"),
    ("help", "h", FLAG, "", "*", "", YES, "test_sattach_command:test_help_usage_version"),
    ("input-filter", "", VALUE, "", "*", "", YES, "test_sattach_command:test_filters_choose_tasks_and_input_reaches_the_chosen_one"),
    ("label", "l", FLAG, "", "*", "", YES, "test_sattach_command:test_it_shows_what_was_said_and_follows_to_the_end"),
    ("layout", "", FLAG, "", "*", "", YES, "test_sattach_command:test_layout_has_slurms_form"),
    ("output-filter", "", VALUE, "", "*", "", YES, "test_sattach_command:test_filters_choose_tasks_and_input_reaches_the_chosen_one"),
    ("pty", "", FLAG, "", "*", "", YES, "test_sattach_command:test_pty_passes_keys_and_bytes_as_they_are"),
    ("quiet", "Q", FLAG, "", "*", "", YES, "test_sattach_command:test_quiet_is_stronger_than_verbose"),
    ("usage", "u", FLAG, "", "*", "", YES, "test_sattach_command:test_help_usage_version"),
    ("verbose", "v", FLAG, "", "*", "", YES, "test_sattach_command:test_filters_choose_tasks_and_input_reaches_the_chosen_one"),
    ("version", "V", FLAG, "", "*", "", YES, "test_sattach_command:test_help_usage_version"),
)
