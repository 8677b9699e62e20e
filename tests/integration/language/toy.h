/* A tiny language of the tests, as a binding of a dynamic language would be made: through the public API alone.
 *
 * Its code is text in the cluster's key-value table, under the function's name: "toy:double" has "arg 0 push 2 mul". A
 * task's first argument is its payload, opaque bytes (here: numbers in text); any number of values or refs follow. The
 * program that submits knows the records but cannot run them; the interpreter, another executable (worker.c), is what
 * ray_config.worker_command starts.
 *
 *   push N | arg I (number I of the payload) | ref I (bytes of argument I, as a number) | size I (how many bytes they
 *   have) | add | mul | dup | fail CODE TEXT | again | not-again (after fail) | crash | exit | sleep MS | print TEXT |
 *   submit NAME (a task of that name with the top as its payload; its value is pushed) | put (top, as an object; then
 *   what get finds there) | bytes (so many as the top says are the result) | yield | env NAME | gpus | pid | attempt |
 *   restarts | calls (of this process) | set | load (the actor's number) | later MS (completes so much later) | wait
 *   (until cancelled) | self NAME (calls that method of the own class: a value) | leave (ray_actor_exit) */
#ifndef TOY_H
#define TOY_H

#include <ray/ray.h>

/* The state of an actor: a pointer of the interpreter's own, in state_size bytes. */
typedef struct toy_object {
    int64_t number;
} toy_object;

/* Tasks "toy:*", the class "toy.Counter" with its methods "toy.Counter.*", classes by name "toyclass:*" with theirs,
 * and streams "toystream:*". call runs them. */
int toy_register(ray_trampoline call);
void toy_run(ray_frame *frame); /* the interpreter; linked into worker.c only */

#endif
