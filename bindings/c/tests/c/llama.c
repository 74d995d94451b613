// The sampler of semid_llama.h, in C and in C++.
#include "llama.h"

#include <semid_llama.h>

#include "expect.h"

enum { VOCABULARY = 108, END = 9 };

// What llama_sampler_sample does: all tokens are candidates, the best one is accepted.
static llama_token sample(struct llama_sampler *sampler, size_t expected) {
  llama_token_data data[VOCABULARY];
  for (size_t id = 0; id < VOCABULARY; id++) {
    data[id].id = (llama_token)id;
    data[id].logit = (float)(id % 7);
    data[id].p = 0;
  }
  llama_token_data_array candidates = {data, VOCABULARY, -1, false};
  sampler->iface->apply(sampler, &candidates);
  EXPECT(candidates.size == expected);
  size_t best = 0;
  for (size_t at = 1; at < candidates.size; at++) {
    if (data[at].logit > data[best].logit) best = at;
  }
  sampler->iface->accept(sampler, data[best].id);
  return data[best].id;
}

int main(int count, char **arguments) {
  EXPECT(count == 2);
  const SemidIndex *index = NULL;
  const SemidTokens *tokens = NULL;
  const SemidSession *session = NULL;
  const uint32_t firsts[] = {100, 104}, end[] = {END};
  DO(semid_index_open(arguments[1], NULL, &index));
  DO(semid_tokens_ranges(index, firsts, 2, VOCABULARY, &tokens));
  SemidSessionOptions options;
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  options.end = end;
  options.end_length = 1;
  DO(semid_session_open(index, tokens, &options, &session));

  EXPECT(semid_llama_sampler(NULL, VOCABULARY) == NULL);
  EXPECT(semid_llama_sampler(session, VOCABULARY + 32) == NULL);
  struct llama_sampler *sampler = semid_llama_sampler(session, VOCABULARY);
  EXPECT(sampler && strcmp(sampler->iface->name(sampler), "semid") == 0);

  // Of 100, 101 and 102 the logit of 102 is largest (102 % 7 = 4), of 104 and 105 that of 104.
  EXPECT(sample(sampler, 3) == 102);
  struct llama_sampler *clone = sampler->iface->clone(sampler);
  EXPECT(clone);
  EXPECT(sample(sampler, 2) == 104);
  EXPECT(sample(sampler, 1) == END);
  EXPECT(sample(sampler, 1) == END);
  EXPECT(semid_llama_status(sampler) == SEMID_STATUS_OK);

  // The clone goes its own way.
  clone->iface->accept(clone, 105);
  EXPECT(sample(clone, 1) == END);
  EXPECT(semid_llama_status(clone) == SEMID_STATUS_OK);

  // A sampler before it has left nothing that is allowed; the program goes on, and is told.
  sampler->iface->reset(sampler);
  llama_token_data word = {1, 2.0f, 0};
  llama_token_data_array rest = {&word, 1, 0, false};
  sampler->iface->apply(sampler, &rest);
  EXPECT(rest.size == 1 && word.logit == -INFINITY);
  EXPECT(semid_llama_status(sampler) == SEMID_STATUS_FORBIDDEN);

  // So is one that draws a token that may not come, or none at all.
  sampler->iface->reset(sampler);
  EXPECT(semid_llama_status(sampler) == SEMID_STATUS_OK);
  sampler->iface->accept(sampler, -1);
  EXPECT(semid_llama_status(sampler) == SEMID_STATUS_FORBIDDEN);

  llama_sampler_free(clone);
  llama_sampler_free(sampler);
  EXPECT(semid_session_close(session) == SEMID_STATUS_CLOSED);
  DO(semid_tokens_close(tokens));
  DO(semid_index_close(index));
  return 0;
}
