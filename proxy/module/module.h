// What the parts of the module share: C and Go, and the filters among themselves.
#ifndef PAVISE_MODULE_H
#define PAVISE_MODULE_H

#include "abi.h"
#include "fast/contains.h"
#include "fast/host.h"

enum { PV_INGRESS, PV_EGRESS };
enum { PV_PASS, PV_ALERT, PV_DENY };

// What one filter is configured with, and the counters it has in Envoy. It does not change.
struct pv_config {
  uint8_t direction;
  bool closed; // what cannot be decided is denied
  bool counting;
  size_t denied, alerted, failed;
};

// What is known of a connection or request; as filter.Facts.
struct pv_facts {
  struct pv_addr source, destination;
  struct pv_host server_name, host;
};

// Room for any reason, feed or entry: names in them have at most 253 octets.
struct pv_text {
  uint32_t size;
  char data[300];
};

// What was decided, as filter.Verdict. Without an action that is not PV_PASS the rest is
// not written.
struct pv_verdict {
  uint8_t action;
  bool failed; // it is the fail mode that decided
  struct pv_text feed, line, entry, asked, reason;
};

// pv_decide says what the feeds say. It asks Go only where a feed lists something.
void pv_decide(const struct pv_config *c, const struct pv_facts *f, struct pv_verdict *v);

// pv_publish puts a snapshot in force. What it replaces is freed by pv_reap when no thread
// looks it up any more. Both are for one thread at a time.
void pv_publish(struct pv_snapshot *s);
void pv_reap(void);

// pv_retired says how many snapshots wait to be freed.
int pv_retired(void);

// pv_asked counts the calls of pv_decide that asked Go.
uint64_t pv_asked(void);

// pv_start loads the snapshot that PAVISE_FEEDS names and the table that PAVISE_NAMES does,
// and begins to watch them. It does so once, and not where Envoy only checks a
// configuration.
void pv_start(void);

// pv_log writes a line to Envoy's log.
void pv_log(int level, const char *text, size_t size);

// pv_lacking logs that this Envoy lacks what a filter needs.
void pv_lacking(void);

// pv_configure reads the configuration of a filter of a kind. It returns NULL and has said
// why, or what pv_forget frees.
struct pv_config *pv_configure(const char *kind, struct pv_buffer name, struct pv_buffer config);
void pv_forget(const struct pv_config *c);

// pv_names writes the names that were resolved to an address, a comma before and after
// each, into the room for them. It returns their length, 0 for none.
size_t pv_names(const struct pv_addr *a, char *out, size_t room);

// pv_names_look opens the table of names if it is another than before. It is for one
// thread.
void pv_names_look(void);

#define PV_STRING(s) ((struct pv_buffer){s, sizeof(s) - 1})

static inline struct pv_buffer pv_text_of(const struct pv_text *t) { return (struct pv_buffer){t->data, t->size}; }

// A sink takes the metadata of one stream or connection.
typedef void (*pv_sink)(void *filter, struct pv_buffer space, struct pv_buffer key, struct pv_buffer value);

// pv_describe writes a verdict as dynamic metadata.
void pv_describe(const struct pv_verdict *v, void *filter, pv_sink sink);

#endif
