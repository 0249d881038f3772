/* The instructions of attention.c as plain C, so that any processor can run it. By Intel's Intrinsics Guide. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef float __m512 __attribute__((vector_size(64)));
typedef int64_t __m512i __attribute__((vector_size(64)));
typedef uint16_t numbers_of_512 __attribute__((vector_size(64)));
typedef struct {
  float numbers[16][16];
} tile;

enum { _MM_FROUND_TO_NEG_INF = 1, _MM_FROUND_NO_EXC = 8 };

static _Thread_local tile tiles[8];
static _Thread_local int tiles_are_configured;

#define EACH for (int i = 0; i < 16; i++)
#define IN_EACH(value) \
  __m512 y;            \
  EACH y[i] = value;   \
  return y

static inline __m512 _mm512_load_ps(const float *a) { IN_EACH(a[i]); }
static inline __m512 _mm512_set1_ps(float a) { IN_EACH(a); }
static inline __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c) { IN_EACH(fmaf(a[i], b[i], c[i])); }
static inline __m512 _mm512_fmsub_ps(__m512 a, __m512 b, __m512 c) { IN_EACH(fmaf(a[i], b[i], -c[i])); }
static inline __m512 _mm512_max_ps(__m512 a, __m512 b) { IN_EACH(a[i] > b[i] ? a[i] : b[i]); }
static inline __m512 _mm512_scalef_ps(__m512 a, __m512 b) { IN_EACH(a[i] * exp2f(floorf(b[i]))); }

static inline __m512 _mm512_reduce_ps(__m512 a, int how) {
  if (how != (_MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)) abort();
  IN_EACH(isinf(a[i]) ? 0 : a[i] - floorf(a[i]));
}

static inline float _mm512_reduce_max_ps(__m512 a) {
  float top = a[0];
  EACH top = a[i] > top ? a[i] : top;
  return top;
}

static inline float widened(uint16_t a) {
  const uint32_t bits = (uint32_t)a << 16;
  float y;
  memcpy(&y, &bits, 4);
  return fabsf(y) < 0x1p-126f ? 0 : y; /* the products take what is smaller for zero */
}

static inline uint16_t narrowed(float a) {
  uint32_t bits;
  memcpy(&bits, &a, 4);
  if (a != a) return bits >> 16 | 0x40;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

static inline numbers_of_512 _mm512_cvtne2ps_pbh(__m512 high, __m512 low) {
  numbers_of_512 y;
  EACH y[i] = narrowed(low[i]), y[16 + i] = narrowed(high[i]);
  return y;
}

typedef numbers_of_512 __m512bh;
typedef int32_t integers_of_512 __attribute__((vector_size(64)));

static inline integers_of_512 _mm512_set1_epi32(int32_t a) {
  integers_of_512 y;
  EACH y[i] = a;
  return y;
}

static inline __m512i _mm512_load_si512(const void *from) {
  __m512i y;
  memcpy(&y, from, 64);
  return y;
}

static inline __m512 _mm512_dpbf16_ps(__m512 sums, __m512bh a, __m512bh b) {
  for (int i = 0; i < 32; i++) sums[i / 2] += widened(a[i]) * widened(b[i]);
  return sums;
}

static inline void _mm512_store_ps(float *to, __m512 a) { memcpy(to, &a, 64); }
static inline void _mm512_store_si512(void *to, __m512i a) { memcpy(to, &a, 64); }

static inline void _mm512_mask_storeu_ps(float *to, uint32_t mask, __m512 a) {
  for (int i = 0; i < 16; i++)
    if (mask >> i & 1) to[i] = a[i];
}

static inline void _mm512_mask_storeu_epi16(void *to, uint32_t mask, __m512i a) {
  for (int i = 0; i < 32; i++)
    if (mask >> i & 1) memcpy((char *)to + 2 * i, (char *)&a + 2 * i, 2);
}

static inline void _tile_loadconfig(const void *config) {
  const uint8_t *given = config; /* palette 1, then at 16 the bytes of a row, and at 48 the rows */
  uint16_t bytes;
  for (int i = 0; i < 8; i++) {
    memcpy(&bytes, given + 16 + 2 * i, 2);
    if (given[0] != 1 || bytes != 64 || given[48 + i] != 16) abort();
  }
  tiles_are_configured = 1;
}

static inline void _tile_release(void) { tiles_are_configured = 0; }
static inline void _tile_zero(int t) { memset(&tiles[t], 0, sizeof(tile)); }

static inline void _tile_loadd(int t, const void *from, int64_t stride) {
  if (!tiles_are_configured) abort();
  EACH memcpy(tiles[t].numbers[i], (const char *)from + i * stride, 64);
}

static inline void _tile_stored(int t, void *to, int64_t stride) {
  EACH memcpy((char *)to + i * stride, tiles[t].numbers[i], 64);
}

static inline void _tile_dpbf16ps(int c, int a, int b) {
  for (int row = 0; row < 16; row++)
    for (int column = 0; column < 16; column++)
      for (int k = 0; k < 32; k++) {
        uint16_t left, right;
        memcpy(&left, (char *)tiles[a].numbers[row] + 2 * k, 2);
        memcpy(&right, (char *)tiles[b].numbers[k / 2] + 4 * column + k % 2 * 2, 2);
        tiles[c].numbers[row][column] += widened(left) * widened(right);
      }
}
