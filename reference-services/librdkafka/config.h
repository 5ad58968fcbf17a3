/* What librdkafka's ./configure would find out on the platforms that .cargo/config.toml names, all of
 * them 64 bits wide with gcc or clang. TLS, SASL, zlib, zstd, curl and plugins are left out: nothing
 * here asks for them. librdkafka includes this as "../config.h", seen from the folder src. */
#pragma once

#define BUILT_WITH "CC HDRHISTOGRAM SYSLOG SNAPPY"

#define ENABLE_DEVEL 0

#define HAVE_ATOMICS_32 1
#define HAVE_ATOMICS_32_ATOMIC 1
#define HAVE_ATOMICS_64 1
#define HAVE_ATOMICS_64_ATOMIC 1
#define ATOMIC_OP(OP1, OP2, PTR, VAL) __atomic_##OP1##_##OP2(PTR, VAL, __ATOMIC_SEQ_CST)
#define ATOMIC_OP32 ATOMIC_OP
#define ATOMIC_OP64 ATOMIC_OP

#define HAVE_REGEX 1
#define HAVE_RAND_R 1
#define HAVE_STRNDUP 1
#define HAVE_STRERROR_R 1
#define HAVE_STRCASESTR 1

#define WITH_HDRHISTOGRAM 1
#define WITH_SNAPPY 1
#define WITH_SYSLOG 1

#ifdef __APPLE__
#define HAVE_STRLCPY 1
#define HAVE_PTHREAD_SETNAME_DARWIN 1
#else
#define HAVE_PTHREAD_SETNAME_GNU 1
#define WITH_C11THREADS 1
#endif

#ifdef __x86_64__
#define WITH_CRC32C_HW 1
#endif
