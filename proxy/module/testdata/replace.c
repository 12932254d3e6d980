// Replaces the snapshot in force as fast as it can while threads look it up: one that is
// freed too early is seen by the address sanitizer or ends this with a signal, one that is
// never freed by the count at the end.
//
//   replace SNAPSHOT TIMES
//
// SNAPSHOT denies 10.0.0.0/8 and nothing else.
#include "../decide.c"
#include "../fast/snapshot.c"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static _Atomic bool stop;
static _Atomic long wrong, decisions;

bool paviseCheck(uint8_t direction, struct pv_facts *f, struct pv_verdict *v) {
  (void)direction, (void)f;
  v->action = PV_DENY;
  return true;
}

static void *reader(void *unused) {
  struct pv_config c = {.direction = PV_INGRESS, .closed = true};
  long n = 0;
  while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
    bool is_listed = n++ % 2;
    struct pv_facts f = {.source = {.family = 4, .lo = is_listed ? 0x0a010203 : 0x0b010203}};
    struct pv_verdict v;
    pv_decide(&c, &f, &v);
    if (v.failed || v.action != (is_listed ? PV_DENY : PV_PASS)) atomic_fetch_add(&wrong, 1);
  }
  atomic_fetch_add(&decisions, n);
  return unused;
}

static struct pv_snapshot *load(const char *path) {
  const char *why;
  int fd = open(path, O_RDONLY);
  struct pv_snapshot *s = pv_open(fd, (const uint8_t *)"", 1, &why);
  close(fd);
  if (!s) exit(2);
  return s;
}

int main(int argc, char **argv) {
  (void)argc;
  pv_publish(load(argv[1]));
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, reader, NULL);
  for (int n = atoi(argv[2]); n > 0; n--) {
    pv_publish(load(argv[1]));
    pv_reap();
  }
  atomic_store(&stop, true);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  pv_publish(NULL);
  pv_reap();
  printf("%ld decisions, %ld wrong, %d not freed\n", (long)decisions, (long)wrong, pv_retired());
  return wrong != 0 || pv_retired() != 0 || decisions < 1000;
}
