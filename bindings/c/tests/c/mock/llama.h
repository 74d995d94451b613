// What semid_llama.h needs of llama.cpp's llama.h, which is not at hand: the public structs of
// samplers, with the layout of its interface (one of its further functions stands for all), and
// the calls that a chain would make.
#ifndef LLAMA_H
#define LLAMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef int32_t llama_token;

typedef struct llama_token_data {
  llama_token id;
  float logit;
  float p;
} llama_token_data;

typedef struct llama_token_data_array {
  llama_token_data *data;
  size_t size;
  int64_t selected;
  bool sorted;
} llama_token_data_array;

struct llama_sampler;
typedef void *llama_sampler_context_t;

struct llama_sampler_i {
  const char *(*name)(const struct llama_sampler *smpl);
  void (*accept)(struct llama_sampler *smpl, llama_token token);
  void (*apply)(struct llama_sampler *smpl, llama_token_data_array *cur_p);
  void (*reset)(struct llama_sampler *smpl);
  struct llama_sampler *(*clone)(const struct llama_sampler *smpl);
  void (*free)(struct llama_sampler *smpl);
  void (*backend_set_input)(struct llama_sampler *smpl);
};

struct llama_sampler {
  struct llama_sampler_i *iface;
  llama_sampler_context_t ctx;
};

static inline struct llama_sampler *llama_sampler_init(struct llama_sampler_i *iface,
                                                       llama_sampler_context_t ctx) {
  struct llama_sampler *sampler = (struct llama_sampler *)malloc(sizeof *sampler);
  if (sampler) {
    sampler->iface = iface;
    sampler->ctx = ctx;
  }
  return sampler;
}

static inline void llama_sampler_free(struct llama_sampler *smpl) {
  smpl->iface->free(smpl);
  free(smpl);
}

#endif
