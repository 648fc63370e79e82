/* pair.c: functions of two bytes for any CPU. */
#include "pair.h"

ck_status ck_q8_add__scalar(const void *params, int64_t begin, int64_t end, char *const *bases) { return each_pair(params, begin, end, bases, sum_of); }

ck_status ck_q8_mul__scalar(const void *params, int64_t begin, int64_t end, char *const *bases) { return each_pair(params, begin, end, bases, product_of); }
