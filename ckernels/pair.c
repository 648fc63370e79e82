/* pair.c: functions of two bytes for any CPU. */
#include "pair.h"

ck_status ck_q8_add__scalar(const void *params, char *const *bases) { return each_pair(params, bases, sum_of); }

ck_status ck_q8_mul__scalar(const void *params, char *const *bases) { return each_pair(params, bases, product_of); }
