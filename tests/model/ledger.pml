/* The ledger of one partition, step by step: one load, one store or one compare-and-swap of shared
 * memory, one kernel call that the kernel does atomically, is one step and nothing is coarser.
 * README.md says what is modelled; `run` checks every configuration and every mutant.
 *
 * An "image" is a process between exec and exec (it owns memory, a mapping, a descriptor); a "pid"
 * may carry several images one after the other. Ghost variables are written in the same step as
 * what they describe and are never read by the protocol.
 */

#if defined(ADMIT)          /* three processes charge, keep, give back */
#define START EACH_WORKER
#define NPID WORKERS
#elif defined(SLOTS)        /* slots change hands under two reclaimers; pids are reused */
#define START WORKER(0, 1); WORKER(1, 1); HELPER(3, reclaimer); SECOND_RECLAIMER
#define NPID 2
#define STRANGER 2
#define PID_REUSED
#ifdef TWO_RECLAIMERS
#define SECOND_RECLAIMER HELPER(4, reclaimer)
#else
#define SECOND_RECLAIMER skip
#endif
#elif defined(THREADS)      /* two threads of one process and another process */
#define START PROCESS(0, threaded); WORKER(1, OPS)
#define NPID 2
#define CLAIMED_BEFORE
#elif defined(FORK)         /* a child with its parent's memory and descriptor; the parent may exec */
#define START PROCESS(0, forker); HELPER(3, reclaimer)
#define NPID 2
#define CHILD 1
#define CHILD_PID 1
#define SECOND 2
#define WITH_CHILD
#define EXEC
#elif defined(EXEC)         /* exec, and the new image claims again, beside another process */
#define START PROCESS(0, forker); WORKER(1, OPS); HELPER(3, reclaimer)
#define NPID 2
#define SECOND 2
#elif defined(RESIZE)       /* a limit is lowered and raised under two chargers */
#define START EACH_WORKER; HELPER(3, resizer)
#define NPID WORKERS
#define CLAIMED_BEFORE
#elif defined(SWEEP)        /* end, deadline, extend, unlink */
#define START EACH_WORKER; HELPER(3, sweeper); HELPER(4, extender); \
  active_steps++; run clock()
#define NPID WORKERS
#define CLAIMED_BEFORE
#else
#error "give one of -DADMIT -DSLOTS -DTHREADS -DFORK -DEXEC -DRESIZE -DSWEEP (see run)"
#endif

#if WORKERS == 1
#define EACH_WORKER WORKER(0, OPS)
#elif WORKERS == 2
#define EACH_WORKER WORKER(0, OPS); WORKER(1, OPS)
#else
#define EACH_WORKER WORKER(0, OPS); WORKER(1, OPS); WORKER(2, OPS)
#endif

#define NIMG 6  /* the last one is the auditor */
#ifdef CLAIMED_BEFORE  /* claims are over: process i holds slot i */
#define CLAIM(m)                                                         \
  owner[m] = OWNER(0, LIVE, m); locked[m] = BIT(m); holder[m] = m; slots_high = NSLOT
#else
#define CLAIM(m) skip
#endif
#define WORKER(m, ops) start(m, m); CLAIM(m); run worker(m, m, ops)
#define PROCESS(m, type) start(m, m); CLAIM(m); run type(m, m)
#define HELPER(m, type) state[m] = running; active_steps++; run type(m, NONE)

#define NONE 15

/* owner word = (generation, state, proc); bytes word = (generation, bytes) */
#define FREE 0
#define CLAIMING 1
#define LIVE 2
#define OWNER(g, s, p) ((g) * 32 + (s) * 8 + (p))
#define OWNER_GEN(o) ((o) / 32)
#define OWNER_STATE(o) (((o) / 8) % 4)
#define OWNER_PID(o) ((o) % 8)
#define BYTES(g, b) ((g) * 16 + (b))
#define BYTES_GEN(w) ((w) / 16)
#define BYTES_OF(w) ((w) % 16)

#ifdef MUTANT_NO_GENERATION
#define NEXT(g) (g)
#else
#define NEXT(g) ((g) + 1)
#endif

/* The grant and the ledger. */
byte limit = LIMIT;
bit ended_grant, ended_ledger;
byte deadline = 1;
byte slots_high;
byte owner[NSLOT], bytes[NSLOT], start_time[NSLOT];

/* The kernel. */
byte locked[NSLOT];            /* images (bits) that hold a descriptor of the slot's lock */
bool mapped[NIMG];             /* the image maps the ledger */
bool pid_there[NPID];          /* /proc/PID is there ... */
byte born[NPID], image[NPID];  /* ... with this start time, now running this image */
byte time_now;                 /* the clock */

/* Ghosts. */
mtype = { unborn, running, stopped, dead };
mtype state[NIMG] = unborn;
byte live[NIMG];         /* what the driver holds for the image: admitted and not yet freed */
byte pending[NIMG];      /* announced and not yet admitted, or freed and not yet credited */
byte total;              /* sum of live[] */
byte cap = LIMIT;        /* what total may not exceed: the limit last promised, what drains */
byte holder[NSLOT];      /* the image that claimed the slot's present generation */
#ifdef DRAIN
bool drained;            /* the limit was lowered, whatever is held ... */
bool after_drain[NIMG];  /* ... before the image announced its present request */
#define NOTE_DRAIN after_drain[me] = drained;
#define ASSERT_DRAIN assert(!after_drain[me] || total <= limit);
#else
#define NOTE_DRAIN
#define ASSERT_DRAIN
#endif
bool attached[NIMG];     /* the image has put away its pid's older slots */
bool unlinked;
byte active_steps;       /* processes that still run */

#define BIT(x) (1 << (x))
#define LIVES(m) (state[m] == running || state[m] == stopped)

/* One step of image `me`, unless it has been killed or stopped. */
#define STEP(x)                                 \
  if                                            \
  :: d_step { state[me] == running -> x }       \
  :: state[me] != running -> goto halted        \
  fi

#define CAS(word, expected, desired, then_do) \
  STEP(if                                     \
       :: word == (expected) ->               \
          word = desired;                     \
          ok = 1;                             \
          then_do                             \
       :: else -> ok = 0                      \
       fi)

/* A load of a word that nobody writes in a configuration is no interaction, hence no step. */
#ifdef RESIZE
#define READ_LIMIT STEP(lim = limit)
#else
#define READ_LIMIT lim = LIMIT
#endif
#ifdef CLAIMED_BEFORE
#define READ_HIGH high = NSLOT
#else
#define READ_HIGH STEP(high = slots_high)
#endif

/* ---- sums and checks ---- */

inline sum_slots() {
  sum = 0;
  i = 0;
  do
  :: i < high -> STEP(sum = sum + BYTES_OF(bytes[i]); i++)
  :: else -> break
  od;
  i = 0;
  high = 0
}

inline look(n) {  /* would it fit? asks without a trace */
  READ_LIMIT;
  READ_HIGH;
  sum_slots();
  ok = (sum + n <= lim);
  sum = 0;
  lim = 0
}

inline check() {  /* after the announcement; over = the partition has ended */
  over = 0;
#ifdef SWEEP
  STEP(over = ended_grant);
  if
  :: over -> skip
  :: else -> STEP(over = ended_ledger)
  fi;
  if
  :: over -> skip
  :: else ->
     STEP(dl = deadline);
     STEP(over = (time_now >= dl));
     dl = 0
  fi;
#endif
  ok = 0;
  if
  :: over -> skip
  :: else ->
#ifndef MUTANT_LIMIT_READ_FIRST
     READ_LIMIT;
#endif
#ifndef MUTANT_HIGH_READ_FIRST
     READ_HIGH;
#endif
     sum_slots();
     ok = (sum <= lim);
     sum = 0
  fi;
  lim = 0
}

/* ---- the slot's own word ---- */

inline announce(n) {
#ifdef THREADS
  do
  :: STEP(b = bytes[slot]);
     if
     :: BYTES_GEN(b) != gen -> ok = 0; break  /* the slot is lost */
     :: else ->
        CAS(bytes[slot], b, b + n, pending[me] = pending[me] + n);
        if
        :: ok -> break
        :: else -> skip
        fi
     fi
  od;
  b = 0
#else  /* only this thread writes the word: load and compare-and-swap see the same value */
  STEP(ok = (BYTES_GEN(bytes[slot]) == gen);
       if
       :: ok -> bytes[slot] = bytes[slot] + n; pending[me] = pending[me] + n; NOTE_DRAIN
       :: else -> skip
       fi)
#endif
}

inline subtract(n) {
#ifdef THREADS
  do
  :: STEP(b = bytes[slot]);
     if
     :: BYTES_GEN(b) != gen -> ok = 0; break
     :: else ->
        assert(BYTES_OF(b) >= n);  /* stronger than the code's min(): nothing underflows */
        CAS(bytes[slot], b, b - n, pending[me] = pending[me] - n);
        if
        :: ok -> break
        :: else -> skip
        fi
     fi
  od;
  b = 0
#else
  STEP(ok = (BYTES_GEN(bytes[slot]) == gen);
       if
       :: ok ->
          assert(BYTES_OF(bytes[slot]) >= n);
          bytes[slot] = bytes[slot] - n;
          pending[me] = pending[me] - n
       :: else -> skip
       fi)
#endif
}

inline withdraw(n) {
#ifdef MUTANT_NO_WITHDRAW
  STEP(pending[me] = pending[me] - n)
#else
  subtract(n)
#endif
}

inline driver_frees(n) {
  STEP(live[me] = live[me] - n; total = total - n; pending[me] = pending[me] + n)
}

inline credit(n) {
#ifdef MUTANT_CREDIT_BEFORE_FREE
  subtract(n);
  STEP(pending[me] = pending[me] + n);
  driver_frees(n);
  STEP(pending[me] = pending[me] - n)
#else
  driver_frees(n);
  subtract(n)
#endif
}

/* ---- charge: admitted says the outcome ---- */

inline admit(n) {  /* the driver allocates from here on */
  STEP(pending[me] = pending[me] - n;
       live[me] = live[me] + n;
       total = total + n;
       assert(total <= cap);
       ASSERT_DRAIN
       assert(!unlinked))
}

inline charge(n) {
  admitted = 0;
  tries = 0;
  READ_LIMIT;
  if
  :: n > lim -> lim = 0  /* too large by itself: never announced */
  :: else ->
#ifndef MUTANT_LIMIT_READ_FIRST
     lim = 0;
#endif
     do
     :: ok = 1;
        if
        :: tries > 0 || refused_before -> look(n)
        :: else -> skip
        fi;
        if
        :: !ok -> skip
        :: else ->
#ifdef MUTANT_LIMIT_READ_FIRST
           READ_LIMIT;
#endif
#ifdef MUTANT_HIGH_READ_FIRST
           READ_HIGH;
#endif
#ifdef MUTANT_CHECK_FIRST
           look(n);
           if
           :: ok -> announce(n); admit(n); admitted = 1; break
           :: else -> skip
           fi;
#else
           announce(n);
           if
           :: !ok -> over = 1  /* slot lost */
           :: else ->
              check();
              if
              :: ok -> admit(n); admitted = 1; break
              :: else -> withdraw(n)
              fi
           fi;
           high = 0;
           lim = 0
#endif
        fi;
        if
        :: over || tries == TRIES -> break
        :: else ->
#ifndef MUTANT_RETRY_FOR_EVER
           tries++;
#endif
           if
           :: tries == TRIES -> reclaim_all(); ok = 0
           :: else -> skip
           fi
        fi
     od
  fi;
  refused_before = !admitted;
  over = 0;
  ok = 0;
  high = 0;
  lim = 0;
  tries = 0
}

/* ---- slots ---- */

inline is_dead(k) {  /* o = the owner word as read; each question is asked at its own instant */
  gone = 0;
  if
  :: OWNER_STATE(o) == CLAIMING ->
#ifdef MUTANT_CLAIMING_BY_PID
     STEP(gone = !pid_there[OWNER_PID(o)])
#else
     STEP(gone = !pid_there[OWNER_PID(o)]);
#ifndef MUTANT_CLAIMING_BY_LOCK
     if
     :: gone -> skip
     :: else -> STEP(gone = (locked[k] == 0))
     fi
#else
     STEP(gone = (locked[k] == 0))
#endif
#endif
  :: OWNER_STATE(o) == LIVE ->
#ifdef MUTANT_LIVE_BY_LOCK
     STEP(gone = (locked[k] == 0));
#else
#ifdef PID_REUSED
     STEP(id = start_time[k]);
#endif
     STEP(gone = (!pid_there[OWNER_PID(o)] || born[OWNER_PID(o)] != id));
     id = 0;
#ifndef MUTANT_LIVE_BY_PID
     if
     :: gone -> skip
     :: else ->
        STEP(gone = (locked[k] == 0));
        if
        :: gone -> STEP(gone = !mapped[image[OWNER_PID(o)]])
        :: else -> skip
        fi
     fi;
#endif
#endif
     skip
  :: else -> skip
  fi
}

inline drop_bytes(k) {
#ifdef MUTANT_NO_GENERATION
  STEP(assert(!LIVES(holder[k])); bytes[k] = BYTES(OWNER_GEN(o), 0))
#else
  do
  :: STEP(b = bytes[k]);
     if
     :: BYTES_GEN(b) != OWNER_GEN(o) -> break
     :: else ->
        CAS(bytes[k], b, BYTES(NEXT(OWNER_GEN(o)), 0), assert(!LIVES(holder[k])));
        if
        :: ok -> break
        :: else -> skip
        fi
     fi
  od;
  b = 0
#endif
}

inline reclaim_dead(k) {  /* o is the owner word that was judged dead */
  if
#ifndef MUTANT_CLAIMING_LIKE_LIVE
  :: OWNER_STATE(o) == CLAIMING ->  /* it announced nothing: one step, its bytes word untouched */
     CAS(owner[k], o, OWNER(OWNER_GEN(o), FREE, 0), skip)
#endif
  :: else ->
#ifdef MUTANT_OWNER_FREED_FIRST
     CAS(owner[k], o, OWNER(NEXT(OWNER_GEN(o)), FREE, 0), skip);
     drop_bytes(k)
#else
     drop_bytes(k);
     CAS(owner[k], o, OWNER(NEXT(OWNER_GEN(o)), FREE, 0), skip)
#endif
  fi
}

inline reclaim_slot(k) {
  STEP(o = owner[k]);
  is_dead(k);
  if
  :: gone -> reclaim_dead(k)
  :: else -> skip
  fi;
  gone = 0;
  ok = 0;
  o = 0
}

inline reclaim_all() {
  j = 0;
  do
  :: j < NSLOT && j != slot -> reclaim_slot(j); j++
  :: j < NSLOT && j == slot -> j++
  :: else -> break
  od;
  j = 0
}

inline put_away_older_images() {  /* a LIVE slot of this pid and start time that is not ours */
#if defined(EXEC) && !defined(MUTANT_OLDER_IMAGE_KEPT)
  j = 0;
  do
  :: j == NSLOT -> break
  :: else ->
     STEP(o = owner[j]);
     if
     :: OWNER_STATE(o) == LIVE && OWNER_PID(o) == proc ->
        STEP(id = start_time[j]);
#ifdef MUTANT_OLDER_IMAGE_BY_LOCK
        STEP(gone = (id == born[proc] && locked[j] == 0));
#else
        gone = (id == born[proc]);
#endif
        if
        :: gone -> reclaim_dead(j)
        :: else -> skip
        fi;
        id = 0;
        gone = 0
     :: else -> skip
     fi;
     j++
  od;
  j = 0;
  o = 0;
#endif
#ifdef EXEC
  STEP(attached[me] = 1);
#endif
  ok = 0
}

inline raise_high(k) {
  do
  :: STEP(high = slots_high);
     if
     :: high >= k + 1 -> break
     :: else ->
        CAS(slots_high, high, k + 1, skip);
        if
        :: ok -> break
        :: else -> skip
        fi
     fi
  od;
  high = 0
}

inline claim_slot() {  /* slot == NONE if there is none */
  j = 0;
  do
  :: j == NSLOT -> break
  :: else ->
     STEP(o = owner[j]);
     if
     :: OWNER_STATE(o) == FREE ->
#ifdef MUTANT_CLAIM_WITHOUT_LOCK
        ok = 1;
#else
        STEP(if
             :: locked[j] == 0 -> locked[j] = BIT(me); ok = 1
             :: else -> ok = 0
             fi);
#endif
        if
        :: ok ->
           CAS(owner[j], o, OWNER(OWNER_GEN(o), CLAIMING, proc), holder[j] = me);
           if
           :: ok ->
              STEP(start_time[j] = born[proc]);
              raise_high(j);
              CAS(owner[j], OWNER(OWNER_GEN(o), CLAIMING, proc), OWNER(OWNER_GEN(o), LIVE, proc),
                  slot = j; gen = OWNER_GEN(o));
              if
              :: ok -> break
              :: else -> assert(lock_lost[me])  /* never taken for dead but by its own fault */
              fi
           :: else -> skip
           fi;
           STEP(locked[j] = locked[j] & (255 - BIT(me)))
        :: else -> skip
        fi
     :: else -> skip
     fi;
     j++
  od;
  j = 0;
  o = 0;
  ok = 0
}

inline attach() {
#ifdef CLAIMED_BEFORE
  slot = me;
#else
  put_away_older_images();
  claim_slot()
#endif
}

/* ---- grant: resize, end, sweep ---- */

inline set_limit(new) {
  STEP(before = limit);
#ifdef MUTANT_SUM_BEFORE_STORE
  READ_HIGH;
  sum_slots();
  if
  :: sum <= new -> STEP(limit = new); STEP(cap = new; assert(total <= cap))
  :: else -> skip
  fi;
#else
  STEP(limit = new;
       if
       :: new > cap -> cap = new
       :: else -> skip
       fi);
  READ_HIGH;
  sum_slots();
  if
  :: sum <= new -> STEP(cap = new; assert(total <= cap))
  :: else -> STEP(limit = before)
  fi;
#endif
  sum = 0;
  before = 0
}

#ifdef DRAIN
/* Holds at once: what announces after the store is admitted only below it. What is held above it
 * counts from the sum on, and can only become less. */
inline drain(new) {
#ifdef MUTANT_DRAIN_SUMS_FIRST
  READ_HIGH;
  sum_slots();
  STEP(limit = new; drained = 1);
#else
  STEP(limit = new; drained = 1);
  READ_HIGH;
  sum_slots();
#endif
  STEP(if
       :: sum < new -> cap = new
       :: sum >= new && sum < cap -> cap = sum
       :: else -> skip
       fi;
       assert(total <= cap));
  sum = 0
}
#endif

inline end_partition() {  /* from then on it counts with what drains */
  if
  :: STEP(ended_grant = 1)
  :: STEP(ended_ledger = 1)
  fi;
  READ_HIGH;
  sum_slots();
  STEP(if
       :: sum < cap -> cap = sum
       :: else -> skip
       fi;
       assert(total <= cap));
  sum = 0
}

inline sweep() {
  STEP(over = (ended_grant || ended_ledger));
  if
  :: over -> skip
  :: else ->
     STEP(dl = deadline);
     STEP(over = (time_now >= dl));
     dl = 0;
#if !defined(MUTANT_SWEEP_TRUSTS_CLOCK) && !defined(MUTANT_UNLINK_BEFORE_ENDED)
     if
     :: over -> STEP(ended_ledger = 1)
     :: else -> skip
     fi
#endif
  fi;
#ifdef MUTANT_SWEEP_SUMS_FIRST
  READ_HIGH;
  sum_slots();
  if
  :: sum == 0 ->
     STEP(ended_ledger = 1);
     STEP(unlinked = 1; assert(total == 0))
  :: else -> skip
  fi;
#else
  if
  :: over ->
     reclaim_all();
     READ_HIGH;
     sum_slots();
     if
     :: sum == 0 -> STEP(unlinked = 1; assert(total == 0))
     :: else -> skip
     fi
#ifdef MUTANT_UNLINK_BEFORE_ENDED
     ;
     STEP(ended_ledger = 1)
#endif
  :: else -> skip
  fi;
#endif
  sum = 0;
  over = 0
}

/* ---- processes ---- */

bool lock_lost[NIMG];  /* ghost: the image lost its lock to closefrom() */

#define LOCALS                                                                              \
  byte slot = NONE, gen, o, b, id, i, j, high, sum, lim, tries, dl, before, size, held, k;  \
  bool ok, gone, over, admitted, refused_before

#define LEAVE_MEMORY(m) \
  total = total - live[m]; live[m] = 0; pending[m] = 0; mapped[m] = 0; state[m] = dead

inline leave_locks(m) {
  d_step {
    k = 0;
    do
    :: k < NSLOT -> locked[k] = locked[k] & (255 - BIT(m)); k++
    :: else -> break
    od;
    k = 0
  }
}

inline start(m, p) {
  d_step { state[m] = running; mapped[m] = 1; pid_there[p] = 1; image[p] = m; active_steps++ }
}

inline finish() {
  d_step {
    active_steps--;
    slot = 0; gen = 0; o = 0; b = 0; id = 0; i = 0; j = 0; high = 0; sum = 0; lim = 0;
    tries = 0; dl = 0; before = 0; size = 0; held = 0;
    ok = 0; gone = 0; over = 0; admitted = 0; refused_before = 0
  }
}

inline work(ops) {  /* charge something, keep it or give it back, ops times */
  size = 0;
  do
  :: size == ops -> break
  :: else ->
     if
     :: held = 1
     :: MAXSIZE > 1 -> held = MAXSIZE
     fi;
     charge(held);
     if
     :: admitted -> credit(held)
     :: admitted -> skip  /* kept */
     :: else -> skip
     fi;
     size++
  od;
  held = 0;
  size = 0
}

proctype worker(byte me; byte proc; byte ops) {
  LOCALS;
  attach();
  if
  :: slot != NONE -> work(ops)
  :: else -> skip  /* out of slots: everything is refused */
  fi
halted:
  finish()
}

#ifdef THREADS
proctype second_thread(byte me; byte proc; byte slot0; byte gen0) {
  LOCALS;
  slot = slot0;
  gen = gen0;
  work(OPS)
halted:
  finish()
}

proctype threaded(byte me; byte proc) {
  LOCALS;
  attach();
  if
  :: slot != NONE ->
     atomic { active_steps++; run second_thread(me, proc, slot, gen) };
     work(OPS)
  :: else -> skip
  fi
halted:
  finish()
}
#endif

#ifdef WITH_CHILD
/* A forked child: a copy of its parent's memory (slot, generation, one charged object) and
 * descriptors. Its own claim goes through its own open. */
proctype child(byte me; byte proc; byte slot0; byte gen0; byte inherited) {
  LOCALS;
#ifdef MUTANT_NO_EPOCH
  slot = slot0;
  gen = gen0;
  STEP(pending[me] = inherited);
  subtract(inherited);
  slot = NONE;
#endif
  /* With the epoch check the release of an inherited object credits nothing. */
  if
  :: leave_locks(me)  /* the fork handler closes the descriptor */
  :: skip           /* made by clone(2): no handler */
  fi;
  if
  :: skip
  :: attach();
     if
     :: slot != NONE -> work(1)
     :: else -> skip
     fi
  fi
halted:
  finish()
}
#endif

#if defined(FORK) || defined(EXEC)
/* Charges, then forks (FORK) or not, then execs or not; the new image claims again. */
proctype forker(byte me; byte proc) {
  LOCALS;
  bool execs;
  attach();
  if
  :: slot != NONE ->
     charge(1);
#ifdef WITH_CHILD
     STEP(
       state[CHILD] = running;
       mapped[CHILD] = 1;
       pid_there[CHILD_PID] = 1;
       image[CHILD_PID] = CHILD;
       locked[slot] = locked[slot] | ((locked[slot] & BIT(me)) -> BIT(CHILD) : 0);
       active_steps++);
     run child(CHILD, CHILD_PID, slot, gen, admitted);
#endif
     if
     :: skip
#ifdef EXEC
     :: STEP(LEAVE_MEMORY(me); execs = 1)
#endif
     fi
  :: else -> skip
  fi
halted:
#ifdef EXEC
  if
  :: execs ->  /* past its point of no return: memory is gone, close-on-exec comes next */
     leave_locks(me);
     atomic {
       image[proc] = SECOND;
       state[SECOND] = running;
       active_steps++;
       execs = 0;
       run second_image(SECOND, proc)
     }
  :: else -> skip
  fi;
#endif
  finish()
}
#endif

#ifdef EXEC
proctype second_image(byte me; byte proc) {
  LOCALS;
  if
  :: skip  /* a program without OpenCL */
  :: STEP(mapped[me] = 1);
     attach();
     if
     :: slot != NONE -> work(1)
     :: else -> skip
     fi
  fi
halted:
  finish()
}
#endif

/* Kills a process (memory, then locks, then pid; its pid may at once be another's), stops one for
 * ever, or takes a descriptor away by closefrom(). */
proctype fate(byte events) {
  byte k, p, m;
  bool hit;
  do
  :: events == 0 -> break
  :: else ->
     events--;
     select(p : 0 .. NPID - 1);
     if
     :: skip
     :: d_step {
          m = image[p];
          if
          :: pid_there[p] && LIVES(m) -> LEAVE_MEMORY(m); hit = 1
          :: else -> skip
          fi
        };
        if
        :: hit ->
           leave_locks(m);
           pid_there[p] = 0;
#ifdef PID_REUSED
           if
           :: skip
           :: d_step {
                pid_there[p] = 1; born[p]++; image[p] = STRANGER;
                state[STRANGER] = stopped; mapped[STRANGER] = 1; attached[STRANGER] = 1
              }
           fi
#endif
        :: else -> skip
        fi
#ifndef NO_STOP
     :: d_step {
          if
          :: pid_there[p] && state[image[p]] == running -> state[image[p]] = stopped
          :: else -> skip
          fi
        }
#endif
#ifdef CLOSEFROM
     :: d_step {
          m = image[p];
          if
          :: pid_there[p] && state[m] == running -> lock_lost[m] = 1; hit = 1
          :: else -> skip
          fi
        };
        if
        :: hit -> leave_locks(m)
        :: else -> skip
        fi
#endif
     fi;
     d_step { p = 0; m = 0; hit = 0 }
  od;
  active_steps--
}

proctype reclaimer(byte me; byte proc) {
  LOCALS;
  reclaim_all();
halted:
  finish()
}

#ifdef RESIZE
proctype resizer(byte me; byte proc) {
  LOCALS;
#ifdef DRAIN
  drain(LIMIT - 1)
#else
  if
  :: set_limit(LIMIT - 1)
  :: set_limit(LIMIT + 1)
  fi;
  set_limit(LIMIT - 1)
#endif
halted:
  finish()
}
#endif

#ifdef SWEEP
proctype sweeper(byte me; byte proc) {
  LOCALS;
  if
  :: end_partition()
  :: skip
  fi;
  sweep()
halted:
  finish()
}

proctype extender(byte me; byte proc) {
  LOCALS;
  STEP(over = (ended_grant || ended_ledger));
  if
  :: over -> skip
  :: else ->
     STEP(over = (time_now >= deadline));
     if
     :: over -> skip
     :: else -> STEP(deadline = 2)
     fi
  fi
halted:
  finish()
}

proctype clock() {
  time_now = 1;
  active_steps--
}
#endif

/* When nothing runs any more: a last reclaim, and the books must be exact. */
proctype auditor() {
  LOCALS;
  byte m;
  byte me = NIMG - 1;
  active_steps == 0;
  state[me] = running;
  reclaim_all();
  do
  :: j == NSLOT -> break
  :: else ->
     d_step {
     m = holder[j];
     o = owner[j];
     if
     :: OWNER_STATE(o) != FREE && LIVES(m) -> assert(BYTES_OF(bytes[j]) == live[m] + pending[m])
     :: OWNER_STATE(o) != FREE && !LIVES(m) ->
        /* Only these may wait: an image stopped before it put away its older self, and a forked
         * child without a handler that holds the lock of a pid that has exec'd. */
        assert(pid_there[OWNER_PID(o)]);
        assert(born[OWNER_PID(o)] == start_time[j] || OWNER_STATE(o) == CLAIMING);
        assert(locked[j] != 0 ||
               (mapped[image[OWNER_PID(o)]] && !attached[image[OWNER_PID(o)]]))
     :: else -> assert(BYTES_OF(bytes[j]) == 0)
     fi;
     j++
     }
  od;
halted:
  assert(total <= cap)
}

init {
  atomic {
    byte n;
    do
    :: n < NSLOT -> holder[n] = NIMG - 1; n++
    :: else -> break
    od;
    n = 0;
    START;
    active_steps++;
    run fate(EVENTS);
    run auditor()
  }
}
