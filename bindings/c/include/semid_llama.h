/* A llama_sampler that lets a llama.cpp model name only real items.
 *
 * Include after llama.h. The sampler must come first in its chain: one that truncates before it may
 * leave no allowed token.
 *
 *   struct llama_sampler *chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
 *   llama_sampler_chain_add(chain, semid_llama_sampler(session, vocabulary));
 *   llama_sampler_chain_add(chain, llama_sampler_init_greedy());
 *
 * It needs of llama.cpp what has been public since custom samplers are (llama_sampler_init, and
 * llama_sampler_i with name, accept, apply, reset, clone and free).
 */

#ifndef SEMID_LLAMA_H
#define SEMID_LLAMA_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "semid.h"

struct semid_llama {
  struct llama_sampler_i functions;
  const SemidSession *session;
  SemidStatus status;
  size_t words;
  uint32_t *row;
};

static inline struct semid_llama *semid_llama_of(const struct llama_sampler *sampler) {
  return (struct semid_llama *)sampler->ctx;
}

// What became of the first call of the sampler that failed since the last reset: its functions
// return nothing. `SEMID_STATUS_FORBIDDEN` says that a token came which was not allowed.
static inline SemidStatus semid_llama_status(const struct llama_sampler *sampler) {
  return semid_llama_of(sampler)->status;
}

static inline void semid_llama_note(struct semid_llama *self, SemidStatus status) {
  if (self->status == SEMID_STATUS_OK) self->status = status;
}

static inline const char *semid_llama_name(const struct llama_sampler *sampler) {
  (void)sampler;
  return "semid";
}

static inline void semid_llama_accept(struct llama_sampler *sampler, llama_token token) {
  struct semid_llama *self = semid_llama_of(sampler);
  const uint32_t next = (uint32_t)token;
  semid_llama_note(self, semid_session_advance(self->session, NULL, &next, 1));
}

// Keeps the candidates that are allowed, in their order. Samplers cannot do without any: where none
// is left (behind an item of a session without end tokens, or after a sampler that truncates), all
// stay, at -inf, and the status tells.
static inline void semid_llama_apply(struct llama_sampler *sampler,
                                     llama_token_data_array *candidates) {
  struct semid_llama *self = semid_llama_of(sampler);
  semid_llama_note(self, semid_session_fill_mask(self->session, 0, self->row, self->words));
  size_t kept = 0;
  for (size_t at = 0; at < candidates->size; at++) {
    const size_t token = (size_t)candidates->data[at].id;
    if (token / 32 < self->words && (self->row[token / 32] >> (token % 32) & 1)) {
      candidates->data[kept++] = candidates->data[at];
    }
  }
  candidates->selected = -1;
  if (kept > 0) {
    candidates->size = kept;
    return;
  }
  semid_llama_note(self, SEMID_STATUS_FORBIDDEN);
  for (size_t at = 0; at < candidates->size; at++) candidates->data[at].logit = -INFINITY;
}

static inline void semid_llama_reset(struct llama_sampler *sampler) {
  struct semid_llama *self = semid_llama_of(sampler);
  self->status = semid_session_reset(self->session);
}

static inline void semid_llama_free(struct llama_sampler *sampler) {
  struct semid_llama *self = semid_llama_of(sampler);
  semid_session_close(self->session);
  free(self->row);
  free(self);
}

static inline struct llama_sampler *semid_llama_clone(const struct llama_sampler *sampler);

// Makes a sampler of a session of one beam and takes the session over; NULL if it could not, and
// the session is still the caller's. `vocabulary` is that of the session's tokens.
static inline struct llama_sampler *semid_llama_sampler(const SemidSession *session,
                                                        size_t vocabulary) {
  struct semid_llama *self = (struct semid_llama *)calloc(1, sizeof *self);
  if (!self) return NULL;
  self->session = session;
  self->words = (vocabulary + 31) / 32;
  self->row = (uint32_t *)calloc(self->words, sizeof *self->row);
  // What else llama.cpp has in its struct stays null, which it takes for absent.
  self->functions.name = semid_llama_name;
  self->functions.accept = semid_llama_accept;
  self->functions.apply = semid_llama_apply;
  self->functions.reset = semid_llama_reset;
  self->functions.clone = semid_llama_clone;
  self->functions.free = semid_llama_free;
  struct llama_sampler *sampler = NULL;
  if (self->row && semid_session_fill_mask(session, 0, self->row, self->words) == SEMID_STATUS_OK) {
    sampler = llama_sampler_init(&self->functions, self);
  }
  if (!sampler) {
    free(self->row);
    free(self);
  }
  return sampler;
}

static inline struct llama_sampler *semid_llama_clone(const struct llama_sampler *sampler) {
  const struct semid_llama *self = semid_llama_of(sampler);
  const SemidSession *fork = NULL;
  if (semid_session_fork(self->session, &fork) != SEMID_STATUS_OK) return NULL;
  struct llama_sampler *clone = semid_llama_sampler(fork, self->words * 32);
  if (clone) {
    semid_llama_of(clone)->status = self->status;
  } else {
    semid_session_close(fork);
  }
  return clone;
}

#endif /* SEMID_LLAMA_H */
