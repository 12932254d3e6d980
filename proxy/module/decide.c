#include "module.h"

#include <stdatomic.h>

#include "_cgo_export.h"

// The snapshot in force is read through hazard pointers (Michael: "Hazard Pointers: Safe
// Memory Reclamation for Lock-Free Objects", 2004): a thread says which snapshot it looks
// up, and one that somebody says so of is not freed. Readers never wait, and neither does
// whoever replaces it.
enum { SLOTS = 1024 };

static struct slot {
  _Alignas(64) _Atomic(struct pv_snapshot *) holds;
} slots[SLOTS];

static _Atomic uint32_t slots_taken;
static _Atomic(struct pv_snapshot *) current;
static _Atomic uint64_t asked;
static struct pv_snapshot *retired;

// A slot is for the life of its thread; Envoy keeps its workers as long as it runs. The
// model is that of Go's own variable in this library, and saves a call for each look.
static _Thread_local struct slot *own __attribute__((tls_model("initial-exec")));

static struct slot *slot_of_thread(void) {
  if (__builtin_expect(own == NULL, 0)) {
    uint32_t n = atomic_load(&slots_taken);
    while (n < SLOTS && !atomic_compare_exchange_weak(&slots_taken, &n, n + 1)) {
    }
    if (n < SLOTS) own = &slots[n];
  }
  return own;
}

static struct pv_snapshot *hold(struct slot *slot) {
  for (;;) {
    struct pv_snapshot *s = atomic_load_explicit(&current, memory_order_acquire);
    atomic_store(&slot->holds, s);
    // Sequentially consistent, like the store: either this sees the next snapshot, or
    // pv_reap sees that this one is held.
    if (atomic_load(&current) == s) return s;
  }
}

void pv_publish(struct pv_snapshot *s) {
  struct pv_snapshot *old = atomic_exchange(&current, s);
  if (old) old->next = retired, retired = old;
}

void pv_reap(void) {
  uint32_t taken = atomic_load(&slots_taken);
  for (struct pv_snapshot **p = &retired; *p;) {
    struct pv_snapshot *s = *p;
    bool held = false;
    for (uint32_t i = 0; i < taken && !held; i++) held = atomic_load(&slots[i].holds) == s;
    if (held) {
      p = &s->next;
    } else {
      *p = s->next;
      pv_close(s);
    }
  }
}

int pv_retired(void) {
  int n = 0;
  for (struct pv_snapshot *s = retired; s; s = s->next) n++;
  return n;
}

uint64_t pv_asked(void) { return atomic_load_explicit(&asked, memory_order_relaxed); }

static bool listed(const struct pv_snapshot *s, uint8_t direction, const struct pv_facts *f) {
  if (direction == PV_INGRESS) return pv_contains_addr(s, &f->source);
  return pv_contains_addr(s, &f->destination) || pv_contains_host(s, &f->server_name) || pv_contains_host(s, &f->host);
}

// fail decides what cannot be decided by feeds.
static void fail(const struct pv_config *c, struct pv_verdict *v) {
  v->failed = true;
  v->action = c->closed ? PV_DENY : PV_PASS;
  if (!c->closed) return;
  static const char reason[] = "feeds-unavailable"; // filter.ReasonUnavailable
  v->feed.size = v->line.size = v->entry.size = v->asked.size = 0;
  v->reason.size = sizeof reason - 1;
  memcpy(v->reason.data, reason, sizeof reason - 1);
}

void pv_decide(const struct pv_config *c, const struct pv_facts *f, struct pv_verdict *v) {
  v->action = PV_PASS, v->failed = false;
  struct slot *slot = slot_of_thread();
  if (slot) { // else Go is asked, which needs none
    struct pv_snapshot *s = hold(slot);
    bool ask = s && (s->unloaded[c->direction] || listed(s, c->direction, f));
    atomic_store_explicit(&slot->holds, NULL, memory_order_release);
    if (!s) {
      fail(c, v);
      return;
    }
    if (!ask) return;
  }
  atomic_fetch_add_explicit(&asked, 1, memory_order_relaxed);
  if (!paviseCheck(c->direction, (struct pv_facts *)f, v)) fail(c, v);
}

void pv_describe(const struct pv_verdict *v, void *filter, pv_sink sink) {
  const struct pv_buffer space = PV_STRING("pavise.feeds");
  sink(filter, space, PV_STRING("action"), v->action == PV_DENY ? PV_STRING("deny") : PV_STRING("alert"));
  sink(filter, space, PV_STRING("reason"), pv_text_of(&v->reason));
  if (v->feed.size) sink(filter, space, PV_STRING("feed"), pv_text_of(&v->feed));
  if (v->line.size) sink(filter, space, PV_STRING("line"), pv_text_of(&v->line));
  if (v->entry.size) sink(filter, space, PV_STRING("entry"), pv_text_of(&v->entry));
  if (v->asked.size) sink(filter, space, PV_STRING("asked"), pv_text_of(&v->asked));
}

void pv_log(int level, const char *text, size_t size) {
  if (envoy_dynamic_module_callback_log) envoy_dynamic_module_callback_log(level, (struct pv_buffer){text, size});
}

void pv_lacking(void) {
  static const char why[] = "pavise: this Envoy lacks functions that the filter calls; 1.38.3, 1.39.3 and 1.40.0 have them";
  pv_log(ABI_LOG_ERROR, why, sizeof why - 1);
}
