#define _GNU_SOURCE
#include "module.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "_cgo_export.h"

// The files are looked at by a thread of C, so that nothing of Go runs between two versions
// of them: a timer in Go wakes its scheduler on a core that a worker wants.
enum {
  LOOK_MS = 500,
  RETRY_MS = 5000, // for what is the same and could not be loaded
#ifdef PAVISE_MODULE_TEST
  REPORT_MS = 1000,
#else
  REPORT_MS = 10000,
#endif
};

// What tells one version of a file from another: files are replaced, not rewritten.
struct identity {
  bool there;
  dev_t device;
  ino_t inode;
  off_t size;
  struct timespec changed;
};

static char *path;
static struct identity seen;
static bool loaded;

static struct identity look(void) {
  struct stat s;
  struct identity i = {0};
  if (stat(path, &s) == 0) i = (struct identity){true, s.st_dev, s.st_ino, s.st_size, s.st_ctim};
  return i;
}

static bool same(const struct identity *a, const struct identity *b) {
  return a->there == b->there && a->device == b->device && a->inode == b->inode && a->size == b->size &&
         a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

// load is told what was seen before it opened the file: if that is replaced meanwhile, the
// next look finds it another.
static void load(struct identity now) {
  seen = now;
  loaded = paviseLoad();
  pv_reap();
}

static void *watch(void *unused) {
  (void)unused;
  uint64_t reported = 0;
  for (int64_t ms = LOOK_MS;; ms += LOOK_MS) {
    nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
    pv_names_look();
    struct identity now = look();
    if (!*path) continue;
    if (!same(&now, &seen) || (now.there && !loaded && ms % RETRY_MS == 0)) load(now);
    else if (pv_retired() > 0) pv_reap();
    if (ms % REPORT_MS == 0 && pv_asked() != reported) {
      reported = pv_asked();
      paviseReport();
    }
  }
  return NULL;
}

static void start(void) {
  const char *named = getenv("PAVISE_FEEDS");
  path = strdup(named ? named : "");
  if (!path) return;
  paviseStart(path);
  if (*path) load(look());
  pv_names_look();

  // Signals are Envoy's.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  if (pthread_create(&thread, &attributes, watch, NULL) != 0) {
    static const char why[] = "pavise: no thread to watch feeds and names with: what is loaded now stays in force";
    pv_log(ABI_LOG_ERROR, why, sizeof why - 1);
  } else {
    pthread_setname_np(thread, "pavise_watch");
  }
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void pv_start(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  if (envoy_dynamic_module_callback_is_validation_mode && envoy_dynamic_module_callback_is_validation_mode()) return;
  pthread_once(&once, start);
}

// The version is the Envoy's own, of those two that are the same for what is used here: an
// Envoy only compares it, and complains of another.
HOOK const char *envoy_dynamic_module_on_program_init(void);
HOOK const char *envoy_dynamic_module_on_program_init(void) {
  return envoy_dynamic_module_callback_http_get_downstream_direct_remote_address ? "v0.2.0" : "v0.1.0";
}

struct pv_config *pv_configure(const char *kind, struct pv_buffer name, struct pv_buffer config) {
  struct pv_config *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  if (!paviseConfigure((char *)kind, (char *)name.data, name.size, (char *)config.data, config.size, c)) {
    free(c);
    return NULL;
  }
  pv_start();
  return c;
}

void pv_forget(const struct pv_config *c) { free((void *)c); }
