"""Options of scancel, scontrol and sattach. The fields: `penstock.spec.options`.

Guarantees: complete for Slurm 26.05; scontrol's sub-commands are words, not options, and live with the command.
"""

from __future__ import annotations

FLAG, VALUE, MAYBE = 0, 1, 2
YES, WARN, NO = "supported", "warned", "refused"
FEDERATION = "there are no federations yet"

SCANCEL = (
    ("account", "A", VALUE, "", "*", "SCANCEL_ACCOUNT", YES, "test_views:test_every_filter_of_scancel"),
    ("admin-comment", "", VALUE, "", "*", "", NO, "jobs have no administrator's comment yet"),
    ("batch", "b", FLAG, "", "*", "SCANCEL_BATCH", YES, "test_views:test_every_filter_of_scancel"),
    ("clusters", "M", VALUE, "", "*", "SLURM_CLUSTERS", NO, FEDERATION),
    ("cron", "c", FLAG, "", "*", "SCANCEL_CRON", NO, "there are no cron jobs yet"),
    ("ctld", "", FLAG, "", "*", "SCANCEL_CTLD", YES, "test_views:test_every_filter_of_scancel"),
    ("full", "f", FLAG, "", "*", "SCANCEL_FULL", YES, "test_views:test_every_filter_of_scancel"),
    ("help", "", FLAG, "", "*", "", YES, "test_scancel:test_help_usage_version"),
    ("hurry", "H", FLAG, "", "*", "SCANCEL_HURRY", WARN, "there is no burst buffer to stage out"),
    ("interactive", "i", FLAG, "", "*", "SCANCEL_INTERACTIVE", YES, "test_views:test_every_filter_of_scancel"),
    ("jobname", "", VALUE, "name", "*", "", YES, "test_views:test_every_filter_of_scancel"),
    ("me", "", FLAG, "", "*", "", YES, "test_views:test_every_filter_of_scancel"),
    ("name", "n", VALUE, "name", "*", "SCANCEL_NAME", YES, "test_views:test_every_filter_of_scancel"),
    ("nodelist", "w", VALUE, "", "*", "", YES, "test_views:test_every_filter_of_scancel"),
    ("partition", "p", VALUE, "", "*", "SCANCEL_PARTITION", YES, "test_views:test_every_filter_of_scancel"),
    ("qos", "q", VALUE, "", "*", "SCANCEL_QOS", YES, "test_views:test_every_filter_of_scancel"),
    ("quiet", "Q", FLAG, "", "*", "", YES, "test_views:test_every_filter_of_scancel"),
    ("reservation", "R", VALUE, "", "*", "", YES, "test_views:test_every_filter_of_scancel"),
    ("sibling", "", VALUE, "", "*", "", NO, FEDERATION),
    ("signal", "s", VALUE, "", "*", "", YES, "test_views:test_every_filter_of_scancel"),
    ("state", "t", VALUE, "", "*", "SCANCEL_STATE", YES, "test_views:test_every_filter_of_scancel"),
    ("usage", "", FLAG, "", "*", "", YES, "test_scancel:test_help_usage_version"),
    ("user", "u", VALUE, "", "*", "SCANCEL_USER", YES, "test_views:test_every_filter_of_scancel"),
    ("verbose", "v", FLAG, "", "*", "SCANCEL_VERBOSE", YES, "test_views:test_every_filter_of_scancel"),
    ("version", "V", FLAG, "", "*", "", YES, "test_scancel:test_help_usage_version"),
    ("wckey", "", VALUE, "", "*", "SCANCEL_WCKEY", YES, "test_views:test_every_filter_of_scancel"),
)

SCONTROL = (
    ("all", "a", FLAG, "", "*", "SCONTROL_ALL", YES, "test_view_options:test_scontrol_shows_everything_with_all_and_is_silent_with_quiet"),
    ("cluster", "", VALUE, "clusters", "*", "", NO, FEDERATION),
    ("clusters", "M", VALUE, "", "*", "SLURM_CLUSTERS", NO, FEDERATION),
    ("details", "d", FLAG, "", "*", "", YES, "test_views:test_one_running_job_in_every_view"),
    ("expand-patterns", "", FLAG, "", "*", "", NO, "file patterns are shown expanded"),
    ("federation", "", FLAG, "", "*", "SCONTROL_FEDERATION", NO, FEDERATION),
    ("future", "F", FLAG, "", "*", "SCONTROL_FUTURE", WARN, "there are no nodes in state FUTURE"),
    ("help", "h", FLAG, "", "*", "", YES, "test_view_options:test_help_usage_and_version"),
    ("hide", "", FLAG, "", "*", "", WARN, "there are no hidden partitions"),
    ("json", "", MAYBE, "", "*", "", YES, "test_views:test_one_running_job_in_every_view"),
    ("local", "", FLAG, "", "*", "SCONTROL_LOCAL", WARN, "there is only the local cluster"),
    ("oneliner", "o", FLAG, "", "*", "", YES, "test_golden:test_output"),
    ("quiet", "Q", FLAG, "", "*", "", YES, "test_view_options:test_scontrol_shows_everything_with_all_and_is_silent_with_quiet"),
    ("sibling", "", FLAG, "", "*", "SCONTROL_SIBLING", NO, FEDERATION),
    ("uid", "u", VALUE, "", "*", "", NO, "only for administrators, who have no other identity here yet"),
    ("usage", "", FLAG, "", "*", "", YES, "test_view_options:test_help_usage_and_version"),
    ("verbose", "v", FLAG, "", "*", "", WARN, "there is nothing more to say"),
    ("version", "V", FLAG, "", "*", "", YES, "test_view_options:test_help_usage_and_version"),
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
