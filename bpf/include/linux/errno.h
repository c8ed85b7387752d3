/* The error numbers that libbpf's usdt.bpf.h returns; in place of the machine's header, which is not there everywhere. */
#ifndef TOCSIN_ERRNO_H
#define TOCSIN_ERRNO_H

#define ENOENT 2
#define ESRCH 3
#define EINVAL 22

#endif
