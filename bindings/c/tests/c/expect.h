// What the C tests share.
#ifndef EXPECT_H
#define EXPECT_H

#include <stdio.h>
#include <stdlib.h>

#define EXPECT(condition)                                                            \
  do {                                                                               \
    if (!(condition)) {                                                              \
      fprintf(stderr, "%s:%d: expected %s (last error: %s)\n", __FILE__, __LINE__,   \
              #condition, semid_error_message());                                    \
      exit(1);                                                                       \
    }                                                                                \
  } while (0)

#define DO(call) EXPECT((call) == SEMID_STATUS_OK)

#endif
