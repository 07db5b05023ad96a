/*
 * How a child is waited for, signalled, and let go of: a model of Process and Reaper
 * (process_linux.go, reap_linux.go, waitfor_linux.go, poller_linux.go,
 * reaper_linux.go) above the kernel's own waitid, for spin.
 * `go run ./tests/waitmodel` checks it: that the claims hold, that each documented
 * limit is one, and that each fault, a rule of the code's that is broken, is found.
 *
 * Lines of wait.scripts, which TestWaitReplay repeats with real children, are what
 * this prints behind "@" for some SEED, as `go run ./tests/waitmodel -scripts` has it:
 *
 *   spin -T -nSEED -DSCRIPT -DSTEPS=9 wait.pml
 *
 * There is one child, whose number another process may get when it is reaped. Two
 * goroutines call what there is, each one call at a time; what happens from outside,
 * and when, init chooses. The names below are those of the code.
 *
 *   NOPIDFD     a kernel without pidfds (before 5.4)
 *   POLLS       a kernel where a thread can't be taken back from waitid (before 5.10)
 *   OPENED      the pidfd is opened by number after the birth (no clone3)
 *   OTHER       someone else in this process waits for the child, or for any
 *   STRANGER    the number is used again, by a process that is no child of ours
 *   SIBLING     the same, by another child of ours
 *   TRACER      another process may trace the child, and have its end to itself
 *   REFUSED     a sandbox refuses waitid from some time on
 *   REAPER      a Reaper waits for the children of the main thread, with an orphan
 *   STEPS=n     how much happens from outside
 *   SCRIPT      all that follows from a step is over before the next: to be replayed
 *   F_*         a fault; L_* what a limit is about
 */

#ifndef STEPS
#define STEPS 5
#endif
#define CLIENTS 2

mtype:child  = { running, stopped, zombie, gone };
mtype:owner  = { nobody, theChild, stranger, sibling };
mtype:call   = { idle, Wait, WaitExit, WaitForStopped, WaitForContinued, Poll, Kill, Close };
mtype:answer = { none, state, stop, cont, echild, eperm, errClosed, cancelled, nil, done, esrch };

/* ---- Claims. Each is set and asserted at once; its name is what spin says. ---- */

hidden byte only_the_child_is_signalled, only_own_status_is_taken, a_state_is_of_the_child,
	an_end_is_told_after_it, echild_only_if_taken_by_others, closed_only_after_Close,
	cancelled_only_if_the_context_ended, refused_only_if_refused, what_is_known_is_told,
	each_stop_is_told_once, only_Exited_reaps, a_channel_is_closed_once,
	what_is_over_stays_so, done_only_if_over, no_thread_after_Close, an_orphan_is_told_of_once,
	the_Reaper_takes_orphans_alone, Wait_has_the_state, the_group_is_the_childs;
#define claim(name, is) atomic { name = (is); assert(name) }

/* ---- The kernel ---- */

mtype:child child = running;
mtype:owner number = theChild; /* who has the number */
bool siblingEnded;             /* another child of ours, which has it */
bool stopNews, contNews;       /* not yet taken */
bool held;                     /* another traces the child */
bool refused;
bool stolen;                   /* someone else has reaped the child */
bool sigchld, notified;        /* WaitFor's channel, which holds one; whether signals go there */
byte untold;                   /* stops */

#define ends    (child == zombie || child == gone)
#define visible (child == zombie && !held)

#ifdef REAPER
bool reaperNotified, reaperWake;
byte orphan; /* 0 not there yet, 1 a child of the main thread, 2 its zombie, 3 reaped */
byte orphanTold;
bool onMain; /* the child was made by the main thread */
#endif

/* What changes in a child is followed by SIGCHLD. */
inline signalParent() {
	if
	:: notified -> sigchld = true
	:: else
	fi
#ifdef REAPER
	if
	:: reaperNotified -> reaperWake = true
	:: else
	fi
#endif
}

inline dies() {
	d_step { child = zombie; stopNews = false; contNews = false; signalParent() }
}

/* waitid for one child, without waiting: by the pidfd, or by the number if who is
 * nobody. E, S and C are the options, take is without WNOWAIT. */
inline waitid(who, E, S, C, take, news) {
	d_step {
		target = (who != nobody -> who : number);
		if
		:: refused -> news = eperm
		:: !refused && target == theChild ->
			if
			:: child == gone -> news = echild
			:: child == zombie && held -> news = none
			:: visible && !(E) -> news = echild
			:: visible && (E) ->
				news = state;
				if
				:: take -> child = gone; number = nobody
				:: else
				fi
			:: child == stopped && stopNews && (S) ->
				news = stop;
				if
				:: take -> stopNews = false
				:: else
				fi
			:: child == running && contNews && (C) ->
				news = cont;
				if
				:: take -> contNews = false
				:: else
				fi
			:: else -> news = none
			fi
		:: !refused && target == sibling && number == sibling ->
			if
			:: siblingEnded && (E) ->
				news = state;
				foreign = true;
				only_own_status_is_taken = !(take);
				assert(only_own_status_is_taken);
				if
				:: take -> number = nobody
				:: else
				fi
			:: else -> news = none
			fi
		:: else -> news = echild
		fi;
		target = nobody
	}
}

/* ---- The Process ---- */

bool mu;
mtype:owner pidfd = theChild; /* whose it is; nobody is -1 */
mtype:answer over = none;     /* state, echild, errClosed: the fields state and err */
byte ended, channels;         /* 0 is nil, and how many there have been */
bool isClosed[5];
bool alone, let, letClosed;
bool briefWait;               /* one is in brief */
mtype:owner briefFd = nobody; /* whose its descriptor is */
bool briefLost;               /* and that is another file by now */
bool armed;                   /* in the epoll set */
byte registered;              /* the channel in poller.waiting */
bool foreign;                 /* some state is another's */
byte threads;
mtype:owner target;

#define CHANNELS 5

inline lock()   { atomic { !mu -> mu = true } }
inline unlock() { mu = false }

inline closeChannel(c) {
	d_step {
		a_channel_is_closed_once = !isClosed[c];
		assert(a_channel_is_closed_once);
		isClosed[c] = true
	}
}

inline setOver(how) {
	claim(what_is_over_stays_so, over == none);
	over = how;
#ifdef F_STATE_WITHOUT_RELEASE
	skip
#else
	release()
#endif
}

inline release() {
	if
	:: atomic { registered != 0 -> registered = 0; closeIt = true }
	:: else -> closeIt = alone
	fi;
#ifdef F_REMOVE_IGNORED
	closeIt = (ended != 0);
#endif
	if
	:: closeIt ->
#ifndef F_ALONE_STAYS
		alone = false;
#endif
#ifndef F_RELEASE_WAKES_NONE
		closeChannel(ended)
#endif
	:: else
	fi;
	closeIt = false;
#ifndef F_LET_STAYS
	if
	:: let ->
		claim(a_channel_is_closed_once, !letClosed);
		letClosed = true
	:: else
	fi;
#endif
#ifdef F_CLOSED_UNDER_BRIEF
	if
	:: briefWait -> briefFd = sibling; briefLost = true
	:: else
	fi;
#endif
	d_step { armed = false; pidfd = nobody }
}

inline lost(news) {
#ifdef F_LOST_BY_ANY
	if
	:: news != none -> setOver(echild)
#else
	if
#ifdef F_LOST_IS_CLOSED
	:: news == echild -> setOver(errClosed)
#else
	:: news == echild -> setOver(echild)
#endif
#endif
	:: else
	fi
}

/* The poller's goroutine. */
proctype poller() {
endIdle:
	do
	:: atomic { armed && ends -> armed = false };
		atomic {
			if
			:: registered != 0 -> closeChannel(registered); registered = 0
			:: else
			fi
		}
	od
}

/* waitByThread, which waits by number. */
proctype thread(byte c) {
	mtype:answer news;
	threads++;
endWaits:
	atomic {
		(refused || number == stranger || number == nobody || (number == sibling && siblingEnded) || visible) ->
#ifdef F_THREAD_TAKES
		waitid(nobody, true, false, false, true, news)
#else
		waitid(nobody, true, false, false, false, news)
#endif
	};
	atomic {
		lock();
		if
#ifdef F_ALONE_UNASKED
		:: true ->
#else
		:: alone ->
#endif
			alone = false;
#ifndef F_REFUSAL_IS_THE_END
			if
#ifdef F_ALL_IS_REFUSAL
			:: true -> ended = 0
#else
			:: news == eperm -> ended = 0
			:: else
#endif
			fi;
#endif
			closeChannel(c)
		:: else
		fi;
		threads--;
		unlock()
	}
}

/* ---- What is called ---- */

mtype:call calls[CLIENTS];
bool ctxEnded[CLIENTS];
bool closeCalled;

#define otherClient (1 - me)

/* WaitExit, brief and watch; r is the answer. What is done under mu is one step as
 * far as others are concerned, but for what the kernel does between two calls. */
inline waitExit() {
	atomic {
		lock();
		got = (!briefWait && ended == 0 && pidfd != nobody);
		if
		:: got -> briefWait = true; briefFd = pidfd
		:: else
		fi;
		unlock();
		r = none;
		c = 0
	};
	if
	:: got ->
		atomic {
#ifdef POLLS
			if /* poll, for a millisecond; the descriptor may be closed by now */
			:: ends || over != none -> r = nil
#ifdef SCRIPT
			:: else
#else
			:: true
#endif
			fi;
#else
			if /* waitid, by a descriptor that is its own until it is back */
			:: refused || briefFd == stranger || (briefFd == theChild && (visible || child == gone)) ||
				(briefFd == sibling && siblingEnded)
#ifndef F_NO_RECALL
#ifdef SCRIPT
			:: else
#else
			:: !briefLost /* it is called back */
#endif
#endif
			fi;
			waitid(briefFd, true, false, false, false, news);
			if
			:: news == state -> r = nil
			:: else
			fi;
			news = none;
#endif
			briefWait = false;
			briefFd = nobody;
			got = false
		}
	:: else
	fi;
	if
	:: r == none ->
		atomic {
			lock();
			if
			:: ended != 0 -> c = ended
			:: else ->
				channels++;
				assert(channels < CHANNELS);
				c = channels;
				if
				:: over != none -> closeChannel(c)
				:: over == none && pidfd != nobody ->
					armed = true;
#ifndef F_REGISTERED_LATE
					registered = c
#endif
				:: else -> alone = true; run thread(c)
				fi;
				ended = c;
#ifdef F_REGISTERED_LATE
				got = armed
#endif
			fi;
			unlock()
		};
#ifdef F_REGISTERED_LATE
		if
		:: atomic { got -> registered = c; got = false }
		:: else
		fi;
#endif
		if
		:: isClosed[c] -> r = nil
		:: ctxEnded[me] && !isClosed[c] -> r = cancelled
#ifdef F_ANOTHERS_CONTEXT
		:: ctxEnded[otherClient] && !isClosed[c] -> r = cancelled
#endif
#ifdef F_EITHER_MAY_COME_FIRST
		:: ctxEnded[me] && isClosed[c] -> r = cancelled
#endif
		fi
	:: else
	fi;
	atomic {
		if
		:: r == nil -> /* told */
			lock();
			if
#ifndef F_CLOSED_IS_ENDED
			:: over == errClosed -> r = errClosed
			:: over != errClosed && c != 0 && c != ended -> r = eperm
#else
			:: c != 0 && c != ended -> r = eperm
#endif
			:: else
			fi;
			unlock()
		:: else
		fi;
		c = 0
	}
}

inline reap() {
	atomic {
		lock();
		if
#ifdef F_REAP_UNASKED
		:: true ->
#else
		:: over != none
		:: else ->
#endif
#ifdef F_WAIT_BY_NUMBER
			waitid(nobody, true, false, false, true, news)
#else
			waitid(pidfd, true, false, false, true, news)
#endif
		fi
	};
#ifdef F_REAP_UNLOCKED
	unlock();
	lock();
#endif
	atomic {
		if
#ifdef F_REAP_UNASKED
		:: news == state -> setOver(state); r = state
		:: news != state && over != none -> r = over
#else
		:: over != none -> r = over
		:: over == none && news == state -> setOver(state); r = state
#endif
		:: else -> lost(news); r = news
		fi;
		news = none;
		unlock()
	}
}

/* poll, for Poll and WaitFor: E, S and C are the changes. */
inline look(E, S, C) {
	atomic {
		lock();
		if
		:: over != none -> r = over
		:: else ->
#ifdef F_LOOK_TAKES_THE_END
			waitid(pidfd, true, S, C, true, news)
#else
			waitid(pidfd, E, S, C, false, news)
#endif
		fi
	};
	atomic {
		if
		:: r != none
		:: r == none && news != none && news != eperm && news != echild ->
#ifdef F_STOP_STAYS
			waitid(pidfd, E, S, C, false, news)
#else
#ifndef F_LOOK_TAKES_THE_END
			waitid(pidfd, E, S, C, true, news)
#endif
#endif
		:: else
		fi
	};
	atomic {
		if
		:: r != none
		:: else ->
#ifndef F_NO_END_WITHOUT_EXITED
			if
			:: news == echild && !(E) -> waitid(pidfd, true, false, false, false, news)
			:: else
			fi;
#endif
			claim(only_Exited_reaps, (E) || news != state || child == zombie || stolen);
			if
			:: news == state && (E) -> setOver(state)
			:: else -> lost(news)
			fi;
			r = news
		fi;
		news = none;
		unlock()
	}
}

inline waitFor(S, C) {
#ifdef F_NOTIFIED_LATE
	look(false, S, C);
#endif
	notified = true;
	do
	:: r == none ->
#ifndef F_NOTIFIED_LATE
		look(false, S, C);
#endif
		if
		:: r != none -> break
		:: else
		fi;
		atomic { /* isOver */
			lock();
			if
			:: !let ->
				let = true;
				letClosed = (over != none)
			:: else
			fi;
			unlock()
		};
		if
		:: sigchld -> sigchld = false
		:: letClosed
		:: ctxEnded[me] -> r = cancelled; break
		fi;
#ifdef F_NOTIFIED_LATE
		look(false, S, C)
#endif
	:: else -> break
	od;
	atomic {
		notified = false;
		sigchld = false;
		claim(each_stop_is_told_once, r != stop || untold > 0);
		if
		:: r == stop -> untold--
		:: else
		fi
	}
}

inline kill() {
	lock();
	r = nil;
	d_step {
		target = (pidfd != nobody -> pidfd : number);
#ifndef F_SIGNAL_UNASKED
		if
		:: over != none -> r = done
		:: else
		fi;
#endif
		if
#ifdef F_ZOMBIE_IS_DONE
		:: r == nil && (target == nobody || target == theChild && ends) ->
#else
		:: r == nil && (target == nobody || target == theChild && child == gone) ->
#endif
#ifdef F_ESRCH
			r = esrch
#else
			r = done
#endif
		:: r == nil && target == theChild && (child == running || child == stopped) -> dies()
		:: else ->
			only_the_child_is_signalled = (r != nil || target == theChild);
			assert(only_the_child_is_signalled)
		fi;
#ifdef L_GROUP /* SignalGroup, by number always */
		the_group_is_the_childs = (over != none || number == theChild || number == nobody);
		assert(the_group_is_the_childs);
#endif
		target = nobody
	};
	claim(done_only_if_over, r != done || over != none || child == gone);
	claim(what_is_known_is_told, r != esrch);
	unlock()
}

/* What any answer must be. */
inline judge() {
	claim(a_state_is_of_the_child, r != state || ends && !foreign);
	claim(echild_only_if_taken_by_others, r != echild || stolen);
	claim(closed_only_after_Close, r != errClosed || closeCalled);
	claim(cancelled_only_if_the_context_ended, r != cancelled || ctxEnded[me]);
	claim(what_is_known_is_told, !known || r != cancelled);
	claim(refused_only_if_refused, r != eperm || refused);
	claim(an_end_is_told_after_it, what != WaitExit || r != nil || ends);
	claim(Wait_has_the_state, what != Wait || r == state || r == errClosed || r == cancelled || refused || stolen);
#ifdef L_STOLEN
	claim(Wait_has_the_state, what != Wait || r != echild);
#endif
#ifdef SCRIPT
	printf("@%d=%e\n", me + 1, r);
#endif
	calls[me] = idle;
	ctxEnded[me] = false;
	known = false;
	r = none
}

proctype client(byte me) {
	mtype:call what;
	mtype:answer r = none, news = none;
	byte c;
	bool got, closeIt, known;
endIdle:
	do
	:: atomic { calls[me] != idle -> what = calls[me]; known = (over == state) };
		if
		:: what == Wait ->
			do
			:: waitExit();
				if
				:: r == nil -> reap()
				:: else -> break
				fi;
#ifdef F_NO_SECOND_LOOK
				break;
#endif
				if
				:: r != none -> break
				:: else
				fi;
				if /* a pause: another has the news of its end, and may give it up */
				:: over != none || !held && !(number == sibling && !siblingEnded && pidfd == nobody)
				:: ctxEnded[me] -> r = cancelled; break
				fi
			od
		:: what == WaitExit -> waitExit()
		:: what == WaitForStopped -> waitFor(true, false)
		:: what == WaitForContinued -> waitFor(false, true)
		:: what == Poll -> look(true, false, false)
		:: what == Kill -> atomic { kill() }
		:: what == Close ->
			atomic {
				lock();
				closeCalled = true;
				if
				:: over == none -> setOver(errClosed)
				:: else
				fi;
				r = nil;
				unlock()
			}
		fi;
		atomic { judge(); what = idle }
	od
}

/* ---- The Reaper ---- */

#ifdef REAPER
proctype reaper() {
	bool some;
#ifndef F_REAPER_NOTIFIED_LATE
	reaperNotified = true;
#endif
	do
	:: some = false; /* waitOrphan */
		atomic {
			if
#ifdef F_REAPER_LOOKS_ONLY
			:: orphan == 2 -> orphanTold++; some = true
#else
			:: orphan == 2 -> orphan = 3; orphanTold++; some = true
#endif
#ifdef F_REAPER_OF_ALL
			:: visible ->
#else
			:: visible && onMain ->
#endif
				child = gone; number = nobody; some = true; stolen = true;
				claim(the_Reaper_takes_orphans_alone, false)
			:: else
			fi
		};
		claim(an_orphan_is_told_of_once, orphanTold <= 1);
		if
		:: some
		:: else ->
#ifdef F_REAPER_NOTIFIED_LATE
			reaperNotified = true;
#endif
endWaits:
			reaperWake -> reaperWake = false
		fi
	od
}
#endif

/* ---- What happens ---- */

#ifdef SCRIPT
#define say(what) what
#define settled   timeout
#else
#define say(what) skip
#define settled   true
#endif

inline begin(k, what) {
	calls[k] = what;
	ctxEnded[k] = false;
#ifdef SCRIPT
	printf("@%d.%e\n", k + 1, calls[k])
#endif
}

#define waitsFor(k) (calls[k] == WaitForStopped || calls[k] == WaitForContinued)
#define blocked(k)  (calls[k] != idle)

/* One call of client k. WaitFor is for one goroutine at a time. */
inline call(k) {
	if
	:: begin(k, Wait)
	:: begin(k, WaitExit)
	:: !waitsFor(1 - k) -> begin(k, WaitForStopped)
	:: !waitsFor(1 - k) -> begin(k, WaitForContinued)
	:: begin(k, Poll)
#ifndef NOKILL
	:: begin(k, Kill)
#endif
	:: begin(k, Close)
	fi
}

inline step() {
	atomic {
		settled;
		if
		:: calls[0] == idle -> call(0)
		:: calls[1] == idle && calls[0] != idle -> call(1) /* else it would be as client 0 */
		:: calls[0] != idle && !ctxEnded[0] -> ctxEnded[0] = true; say(printf("@1.cancel\n"))
		:: calls[1] != idle && !ctxEnded[1] -> ctxEnded[1] = true; say(printf("@2.cancel\n"))
		:: child == running && !held -> child = stopped; stopNews = true; contNews = false; untold++; signalParent(); say(printf("@stop\n"))
		:: child == stopped -> child = running; stopNews = false; contNews = true; signalParent(); say(printf("@cont\n"))
		:: child == running || child == stopped -> dies(); say(printf("@end\n"))
#ifdef OTHER
		:: visible -> child = gone; number = nobody; stolen = true; say(printf("@other\n"))
#endif
#ifdef STRANGER
		:: child == gone && number == nobody -> number = stranger; say(printf("@stranger\n"))
#endif
#ifdef SIBLING
		:: child == gone && number == nobody -> number = sibling; siblingEnded = false; say(printf("@sibling\n"))
		:: number == sibling && !siblingEnded -> siblingEnded = true; signalParent(); say(printf("@sibling-end\n"))
#endif
#ifdef TRACER
		:: child == running && !held -> held = true; say(printf("@hold\n"))
		:: held -> held = false; if :: child == zombie -> signalParent() :: else fi; say(printf("@let-go\n"))
#endif
#ifdef REFUSED
		:: !refused -> refused = true; say(printf("@refuse\n"))
#endif
#ifdef REAPER
		:: orphan == 0 -> orphan = 1; say(printf("@orphan\n"))
		:: orphan < 2 -> orphan = 2; signalParent(); say(printf("@orphan-end\n"))
#endif
		fi
	}
}

/* newProcess, where the pidfd is opened after the birth: the child may be another's
 * by then, and so may its number. */
#ifdef OPENED
inline openPidfd() {
	bool tell;
	do
	:: child == running -> child = zombie
#ifdef OTHER
	:: child == zombie -> child = gone; number = nobody; stolen = true
#endif
#ifdef STRANGER
	:: child == gone && number == nobody -> number = stranger
#endif
#ifdef SIBLING
	:: child == gone && number == nobody -> number = sibling
#endif
	:: break
	od;
	pidfd = number;
#ifndef F_OPENED_UNASKED
	if
	:: pidfd == nobody || pidfd == stranger -> /* ESRCH, or waitid knows of no such child */
		pidfd = nobody;
		over = echild
	:: else
	fi
#endif
}
#endif

init {
	byte n;
	atomic {
#ifdef NOPIDFD
		pidfd = nobody;
#endif
#ifdef OPENED
		openPidfd();
#endif
#ifdef L_MAIN
		onMain = true;
#endif
		calls[0] = idle; calls[1] = idle;
		run poller();
		run client(0);
		run client(1);
#ifdef REAPER
		say(printf("@reaper\n"));
		run reaper()
#endif
	};
	do
	:: n < STEPS -> n++; step()
#ifdef SCRIPT
	:: n == STEPS -> break
#else
	:: break
#endif
	od;
	/* What ends every call that is under way, so that one which still waits hangs: that
	 * is an invalid end state to spin. */
	if
	:: atomic { settled && over == errClosed -> skip }
#ifdef L_THREAD
		(calls[0] == idle && calls[1] == idle);
		claim(no_thread_after_Close, threads == 0)
#endif
	:: atomic { settled && (calls[0] != idle || calls[1] != idle) ->
		ctxEnded[0] = (calls[0] != idle);
		ctxEnded[1] = (calls[1] != idle);
		say(printf("@cancel\n")) }
	:: atomic { settled ->
		if
		:: held && child != zombie -> child = zombie; say(printf("@end\n"))
		:: !held && !ends -> dies(); say(printf("@end\n"))
		:: else
		fi;
#ifndef L_HELD
		if
		:: held -> held = false; signalParent(); say(printf("@let-go\n"))
		:: else
		fi;
#endif
		if
		:: number == sibling && !siblingEnded -> siblingEnded = true; signalParent(); say(printf("@sibling-end\n"))
		:: else
		fi }
	fi;
#ifdef REAPER
	orphan != 2
#endif
}
