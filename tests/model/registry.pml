/* The registry: commands that create, resize, extend, release and sweep partitions of one device,
 * under programs that charge, a clock, and death at any step. README.md says what is modelled.
 *
 * A charge and what it checks is one step here: ledger.pml shows that it may be. A command's loads
 * and stores of a grant's words are one step each. Ghost variables are written in the same step as
 * what they describe and are never read by the protocol.
 */

#define NPART 2
#ifndef TOTAL
#define TOTAL 3  /* what the device has */
#endif

/* The grants and the ledgers' sums. */
bool there[NPART];
byte limit[NPART], draining[NPART], deadline[NPART], held[NPART];
bit ended[NPART];

/* The kernel. */
byte lock;      /* 0: free, else the command that has it */
#ifdef ANY
#define time_now 0  /* deadlines are what is left of them */
byte before;        /* of the command that has the lock; as it is a deadline, time passes for it too */
#else
byte time_now;
byte deaths = EVENTS;
#endif

/* Ghosts. */
bool was_over[NPART];    /* at some time it had ended, for anybody to see */
bool given_away[NPART];  /* somebody has admitted another because it had ended */

/* What was in files that are gone is nothing to anybody. */
#ifdef ANY
#define REMOVE(p)                                                          \
  there[p] = 0; limit[p] = 0; draining[p] = 0; deadline[p] = 0; ended[p] = 0; \
  was_over[p] = 0; given_away[p] = 0
#else
#define REMOVE(p) there[p] = 0
#endif

#define OVER(p) (ended[p] || time_now >= deadline[p])
#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define MIN(a, b) ((a) < (b) -> (a) : (b))
#define LATER(t) MIN((t) + 1, TICKS + 1)  /* past the last tick all deadlines are alike */
#define MOST(p) MAX(limit[p], draining[p])
#define TAKES(p) (!there[p] -> 0 : (OVER(p) -> held[p] : MAX(limit[p], held[p])))

/* What must hold after every step of a command and every charge: nobody holds more than readers
 * count of it, and what is held and reserved is there. */
#define WHOLE                              \
  assert(!there[0] || held[0] <= MOST(0)); \
  assert(!there[1] || held[1] <= MOST(1)); \
  assert(TAKES(0) + TAKES(1) <= TOTAL)

/* One step of a command, unless it is killed instead. */
#ifdef ANY
#define STEP(x)    \
  if               \
  :: d_step { x }  \
  :: goto halted   \
  fi
#define LOCK assert(lock == me)  /* taken where the operation is chosen, */
#define UNLOCK skip              /* dropped where all is forgotten */
#else
#define STEP(x)                                \
  if                                           \
  :: d_step { x }                              \
  :: d_step { deaths > 0 -> deaths-- }; goto halted \
  fi

#define LOCK \
  if         \
  :: atomic { lock == 0 -> lock = me } \
  :: atomic { deaths > 0 -> deaths--; goto halted } \
  fi

#define UNLOCK STEP(lock = 0)
#endif

/* ---- the commands ---- */

inline sum_others(p) {  /* what the other partition takes of the device, as admission counts it */
  sum = 0;
  q = 1 - p;
  STEP(lim = limit[q]; drain = draining[q]; use = there[q]);
  if
  :: !use -> skip
  :: else ->
     STEP(over = OVER(q));  /* the clock and `ended` before the ledger */
     STEP(use = MIN(held[q], MAX(lim, drain)));
     if
     :: over -> sum = use; lent = 1
#ifdef MUTANT_ADMISSION_COUNTS_LIMIT
     :: else -> sum = lim
#else
     :: else -> sum = MAX(lim, use)
#endif
     fi
  fi;
  use = 0; lim = 0; drain = 0; over = 0
}

/* The step that counts in an admission. */
#define ADMIT(p) given_away[1 - p] = given_away[1 - p] || lent

inline create(p, n) {
#ifndef MUTANT_ADMISSION_WITHOUT_LOCK
  LOCK;
#endif
  STEP(ok = !there[p]);
  if
  :: !ok -> skip
  :: else ->
     sum_others(p);
     if
     :: sum + n <= TOTAL ->
        STEP(there[p] = 1; limit[p] = n; draining[p] = 0; deadline[p] = time_now + 1; ended[p] = 0;
             held[p] = 0; was_over[p] = 0; given_away[p] = 0; ADMIT(p); WHOLE)
     :: else -> skip
     fi
  fi;
#ifndef MUTANT_ADMISSION_WITHOUT_LOCK
  UNLOCK
#endif
}

inline release(p) {  /* without the lock */
  STEP(if
       :: there[p] -> ended[p] = 1; was_over[p] = 1
       :: else -> skip
       fi)
}

inline grow(p, n) {
  STEP(use = held[p]);
  if
  :: n <= MAX(lim, use) -> ok = 1
  :: else -> use = 0; sum_others(p); ok = (sum + n <= TOTAL)
  fi;
  if
  :: ok -> STEP(limit[p] = n; ADMIT(p); WHOLE)
  :: else -> skip
  fi
}

inline shrink(p, n, may_drain) {
#ifdef MUTANT_RESIZE_SUMS_FIRST
  STEP(use = MIN(held[p], MOST(p)));
#endif
#ifdef MUTANT_LIMIT_BEFORE_DRAINING
  STEP(drain = MOST(p); limit[p] = n; WHOLE);
  STEP(draining[p] = drain; WHOLE);
#else
  STEP(drain = draining[p]; draining[p] = MOST(p); WHOLE);
  STEP(limit[p] = n; WHOLE);
#endif
#ifndef MUTANT_RESIZE_SUMS_FIRST
  STEP(use = MIN(held[p], MOST(p)));
#endif
  if
  :: use > n && !may_drain ->
     STEP(limit[p] = lim; WHOLE);
     STEP(draining[p] = drain; WHOLE)
  :: else ->
     STEP(draining[p] = (use > n -> use : 0); WHOLE)
  fi
}

inline resize(p, n, may_drain) {
#ifndef MUTANT_RESIZE_WITHOUT_LOCK
  LOCK;
#endif
  STEP(ok = there[p] && !OVER(p); lim = limit[p]);
  if
  :: ok && n > lim -> grow(p, n)
  :: ok && n < lim -> shrink(p, n, may_drain)
  :: else -> skip
  fi;
#ifndef MUTANT_RESIZE_WITHOUT_LOCK
  UNLOCK
#endif
}

/* When it says that it has extended: nobody can have seen the partition out of time. */
#define EXTENDED_IN_TIME(p) (ended[p] || !was_over[p])

#ifdef ANY
#define STILL_MINE(p) (there[p])  /* nobody else has had the lock */
#else
#define STILL_MINE(p) (there[p] && deadline[p] == LATER(before))
#endif

inline extend(p) {
#ifndef MUTANT_EXTEND_LOOKS_BEFORE_LOCK
  LOCK;
#endif
  STEP(ok = there[p] && !ended[p]; before = deadline[p]);
  STEP(ok = ok && time_now < before);
#ifdef MUTANT_EXTEND_LOOKS_BEFORE_LOCK
  LOCK;
#endif
  if
  :: !ok -> skip
  :: else ->
     STEP(if
          :: there[p] && deadline[p] == before ->
             deadline[p] = LATER(before); stored = 1; too_late = ended[p]
          :: else -> ok = 0  /* the compare-and-swap fails */
          fi);
#ifndef MUTANT_EXTEND_TRUSTS_LOOK
     STEP(ok = ok && time_now < before; assert(!ok || EXTENDED_IN_TIME(p)));
     if
     :: ok ->
#ifndef MUTANT_EXTEND_IGNORES_END
        STEP(ok = !ended[p]);
#endif
        assert(!ok || !too_late)  /* ok: it says "extended", else "has already ended" */
     :: else -> STEP(if
                     :: STILL_MINE(p) -> deadline[p] = before
                     :: else -> skip
                     fi;
                     stored = 0)
     fi
#else
     STEP(assert(!ok || EXTENDED_IN_TIME(p)))
#endif
  fi;
  UNLOCK
}

inline sweep(p) {
  LOCK;
  STEP(ok = there[p] && OVER(p));
  if
  :: !ok -> skip
  :: else ->
     STEP(ended[p] = 1);
     STEP(use = held[p]);
     if
     :: use == 0 -> STEP(assert(held[p] == 0); REMOVE(p))
     :: else -> skip
     fi
  fi;
  UNLOCK
}

/* ---- processes ---- */

#define CLEAR \
  sum = 0; q = 0; lim = 0; drain = 0; use = 0; over = 0; ok = 0; lent = 0; before = 0; p = 0; stored = 0; \
  too_late = 0

#ifdef ANY

/* Any number of operations and deaths. README.md ("Any number") says why this is all there is. */
proctype command(byte me) {
  byte sum, q, lim, drain, use, p;
  bool over, ok, lent;
  bool stored, too_late;  /* ghosts, as below */
idle:
  if
  :: atomic {
       lock == 0 -> lock = me;
       if
       :: p = 0
       :: p = 1
       fi
     }
  :: d_step { there[0] -> ended[0] = 1; was_over[0] = 1 }; goto idle  /* release */
  :: d_step { there[1] -> ended[1] = 1; was_over[1] = 1 }; goto idle
  fi;
  if
  :: create(p, 1)
  :: create(p, 2)
  :: resize(p, 3, 0)
  :: resize(p, 2, 0)
  :: resize(p, 1, 0)
  :: resize(p, 1, 1)
  :: extend(p)
  :: sweep(p)
  fi;
  d_step { assert(lock == me); lock = 0; CLEAR };
  goto idle;
halted:  /* what the kernel does; and there is another command in its place */
  skip;
  d_step {
    lock = 0;
    if
    :: stored -> was_over[p] = 0
    :: else -> skip
    fi;
    CLEAR
  };
  goto idle
}

proctype program(byte p) {
  do
  :: d_step {
       there[p] && !OVER(p) && held[p] + 1 <= limit[p] ->
       held[p]++;
       assert(!given_away[p]);
       assert(held[0] + held[1] <= TOTAL);
       WHOLE
     }
  :: d_step { there[p] && held[p] > 0 -> held[p]-- }  /* also one after the other at its end */
  od
}

#define TICK(p)                                   \
  if                                              \
  :: deadline[p] > 0 -> deadline[p] = deadline[p] - 1 \
  :: else -> skip                                 \
  fi;                                             \
  was_over[p] = was_over[p] || (there[p] && deadline[p] == 0)

proctype clock() {
  do
  :: d_step {
       true ->
       TICK(0);
       TICK(1);
       if
       :: before > 0 -> before--
       :: else -> skip
       fi
     }
  od
}

#else

proctype command(byte me) {
  byte sum, q, lim, drain, use, before, p, i;
  bool over, ok, lent;
  bool stored;    /* ghost: a deadline that may have to be taken back */
  bool too_late;  /* ghost: it had been ended before the new deadline was stored */
  do
  :: i == OPS -> break
  :: else ->
     i++;
     if
     :: p = 0
     :: p = 1
     fi;
     if
     :: create(p, 1)
     :: create(p, 2)
     :: resize(p, 3, 0)
     :: resize(p, 2, 0)
     :: resize(p, 1, 0)
     :: resize(p, 1, 1)
     :: extend(p)
     :: release(p)
     :: sweep(p)
     fi;
     d_step { CLEAR }
  od;
halted:
  skip;  /* the kernel drops what a dead command had */
  d_step {
    if
    :: lock == me -> lock = 0
    :: else -> skip
    fi;
    if
    :: stored -> was_over[p] = 0  /* the new deadline stands: it counts as extended */
    :: else -> skip
    fi;
    CLEAR; i = 0
  }
}

proctype program(byte p) {
  byte i;
  do
  :: i == CHARGES -> break
  :: d_step {
       i < CHARGES && there[p] && !OVER(p) && held[p] + 1 <= limit[p] ->
       held[p]++;
       i++;
       assert(!given_away[p]);  /* what has ended is not active again */
       assert(held[0] + held[1] <= TOTAL);
       WHOLE
     }
  :: d_step { i < CHARGES && there[p] && held[p] > 0 -> held[p]--; i++ }
  :: i < CHARGES -> i = CHARGES
  od;
  i = 0
}

proctype clock() {
  do
  :: time_now == TICKS -> break
  :: d_step {
       time_now < TICKS ->
       time_now++;
       was_over[0] = was_over[0] || (there[0] && time_now >= deadline[0]);
       was_over[1] = was_over[1] || (there[1] && time_now >= deadline[1])
     }
  od
}

#endif

init {
  atomic {
#ifndef EMPTY  /* else there is no partition yet */
    there[0] = 1; limit[0] = TOTAL - 1; deadline[0] = 1;
    there[1] = 1; limit[1] = 1; deadline[1] = 2;
#endif
    run command(1);
    run command(2);
#if COMMANDS > 2
    run command(3);
#endif
    run program(0);
    run program(1);
    run clock()
  }
}
