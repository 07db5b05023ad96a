package main

// A row is the model with these macros, and what it then violates.
type row struct {
	macros   string
	violates string // "" if all claims hold
	steps    int    // how much happens from outside; 0 is four
}

// hangs is what spin calls the end of a run in which a call still waits.
const hangs = "invalid end state"

var rows = []row{
	{"REAPER", "", 3},
	{"NOPIDFD REAPER", "", 3},
	{"REAPER OTHER STRANGER SIBLING", "", 3},
	{"REAPER OTHER TRACER REFUSED", "", 3},
	{"", "", 0},
	{"OTHER", "", 0},
	{"STRANGER OTHER", "", 0},
	{"SIBLING OTHER", "", 0},
	{"TRACER", "", 0},
	{"TRACER OTHER", "", 0},
	{"REFUSED", "", 0},
	{"OPENED OTHER STRANGER", "", 0},
	{"POLLS OTHER STRANGER", "", 0},
	{"POLLS TRACER OTHER", "", 0},
	{"NOPIDFD", "", 0},
	{"NOPIDFD OTHER", "", 0},
	{"NOPIDFD TRACER", "", 0},
	{"NOPIDFD REFUSED", "", 0},

	// What is documented as a limit: who else waits, or a number that is used again, where
	// there is no pidfd or none from the birth on (Start, Process); SignalGroup, which is by number;
	// a thread that waits longer than the Process is open; a tracer that holds the end; a
	// child of the main thread's beside a Reaper.
	{"OPENED OTHER SIBLING", "only_own_status_is_taken", 0},
	{"NOPIDFD OTHER STRANGER", "only_the_child_is_signalled", 0},
	{"NOPIDFD OTHER SIBLING", "a_state_is_of_the_child", 0},
	{"OTHER STRANGER L_GROUP", "the_group_is_the_childs", 0},
	{"OTHER L_STOLEN", "Wait_has_the_state", 0},
	{"NOPIDFD L_THREAD", "no_thread_after_Close", 0},
	{"TRACER L_HELD", hangs, 0},
	{"NOPIDFD TRACER L_HELD", hangs, 0},
	{"REAPER L_MAIN", "the_Reaper_takes_orphans_alone", 3},

	// Each rule of the code's that is broken.
	{"NOPIDFD F_ALL_IS_REFUSAL", "refused_only_if_refused", 0},
	{"NOPIDFD F_ALONE_STAYS", "a_channel_is_closed_once", 0},
	{"NOPIDFD F_ALONE_UNASKED", "a_channel_is_closed_once", 0},
	{"F_ANOTHERS_CONTEXT", "cancelled_only_if_the_context_ended", 0},
	{"F_CLOSED_UNDER_BRIEF", hangs, 0},
	{"F_CLOSED_IS_ENDED", "an_end_is_told_after_it", 0},
	{"F_EITHER_MAY_COME_FIRST", "what_is_known_is_told", 0},
	{"OTHER F_ESRCH", "what_is_known_is_told", 0},
	{"F_LET_STAYS", hangs, 0},
	{"F_LOOK_TAKES_THE_END", "only_Exited_reaps", 0},
	{"F_LOST_BY_ANY", "echild_only_if_taken_by_others", 0},
	{"OTHER F_LOST_IS_CLOSED", "closed_only_after_Close", 0},
	{"F_NO_RECALL", hangs, 0},
	{"F_NOTIFIED_LATE", hangs, 0},
	{"F_NO_END_WITHOUT_EXITED", "echild_only_if_taken_by_others", 0},
	{"TRACER F_NO_SECOND_LOOK", "Wait_has_the_state", 0},
	{"OPENED OTHER STRANGER F_OPENED_UNASKED", "only_the_child_is_signalled", 0},
	{"REAPER F_REAPER_LOOKS_ONLY", "an_orphan_is_told_of_once", 3},
	{"REAPER F_REAPER_NOTIFIED_LATE", hangs, 3},
	{"REAPER F_REAPER_OF_ALL", "the_Reaper_takes_orphans_alone", 3},
	{"F_REAP_UNASKED", "what_is_over_stays_so", 0},
	{"F_REAP_UNLOCKED", "echild_only_if_taken_by_others", 0},
	{"NOPIDFD REFUSED F_REFUSAL_IS_THE_END", "an_end_is_told_after_it", 0},
	{"F_REGISTERED_LATE", hangs, 0},
	{"F_RELEASE_WAKES_NONE", hangs, 0},
	{"F_REMOVE_IGNORED", "a_channel_is_closed_once", 0},
	{"OPENED OTHER STRANGER F_SIGNAL_UNASKED", "only_the_child_is_signalled", 0},
	{"F_STATE_WITHOUT_RELEASE", hangs, 0},
	{"F_STOP_STAYS", "each_stop_is_told_once", 0},
	{"NOPIDFD F_THREAD_TAKES", "echild_only_if_taken_by_others", 0},
	{"SIBLING OTHER F_WAIT_BY_NUMBER", "only_own_status_is_taken", 0},
	{"F_ZOMBIE_IS_DONE", "done_only_if_over", 0},
}
