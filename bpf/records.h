/* What the programs write into their ring buffers.
 *
 * Every field is at its natural alignment and every hole is named, so the layout is the same for every compiler.
 * `extractors/src/ebpf/record.rs` reads the same offsets. Text ends at its first NUL; what follows is left over. */
#ifndef TOCSIN_RECORDS_H
#define TOCSIN_RECORDS_H

#include "vmlinux.h"

#define HASH_BYTES 32
/* An onion address with its port takes 69 with the NUL; names given to -addnode may be longer. */
#define ADDR_BYTES 128
/* "outbound-full-relay" takes 20. */
#define CONN_TYPE_BYTES 24
/* Twelve characters and the NUL. */
#define MSG_TYPE_BYTES 16
/* "sizelimit" takes 10. */
#define REMOVAL_BYTES 16
/* Reject reasons are up to 118 characters. */
#define REJECT_BYTES 128
/* Misbehaviours are up to 128 characters. */
#define MISBEHAVIOR_BYTES 136

/* Payload a message record has room for, by size class: most transactions and announcements, nearly all of them, lists
 * of addresses, anything. MAX_PROTOCOL_MESSAGE_LENGTH in Core's net.h is 4,000,000. */
#define SMALL_BYTES 512
#define MEDIUM_BYTES 4096
#define LARGE_BYTES 65536
#define HUGE_BYTES 4000000

enum kind {
	INBOUND_MESSAGE = 1,
	OUTBOUND_MESSAGE = 2,
	INBOUND_CONNECTION = 3,
	OUTBOUND_CONNECTION = 4,
	CLOSED_CONNECTION = 5,
	EVICTED_CONNECTION = 6,
	MISBEHAVING = 7,
	MEMPOOL_ADDED = 8,
	MEMPOOL_REMOVED = 9,
	MEMPOOL_REPLACED = 10,
	MEMPOOL_REJECTED = 11,
	BLOCK_CONNECTED = 12,
	UTXO_FLUSH = 13,
	UTXO_ADD = 14,
	UTXO_SPENT = 15,
	UTXO_UNCACHE = 16,
};

/* Bits of `unread`: memory of the node that could not be read, so the field is empty. */
enum unread {
	UNREAD_ADDR = 1,
	UNREAD_CONN_TYPE = 2,
	UNREAD_MSG_TYPE = 4,
	UNREAD_PAYLOAD = 8,
	UNREAD_HASH = 16,
	UNREAD_REASON = 32,
};

struct head {
	u64 at;		/* CLOCK_MONOTONIC, ns */
	u16 kind;
	u16 unread;
	u32 captured;	/* payload bytes that follow a message; else 0 */
};

struct message {
	struct head head;
	s64 peer_id;
	u64 size;
	char addr[ADDR_BYTES];
	char conn_type[CONN_TYPE_BYTES];
	char msg_type[MSG_TYPE_BYTES];
};

struct small_message { struct message m; u8 payload[SMALL_BYTES]; };
struct medium_message { struct message m; u8 payload[MEDIUM_BYTES]; };
struct large_message { struct message m; u8 payload[LARGE_BYTES]; };
struct huge_message { struct message m; u8 payload[HUGE_BYTES]; };

struct connection {
	struct head head;
	s64 peer_id;
	u64 number;	/* connections there are, or when this one was opened (Unix s) */
	u32 network;
	u32 hole;
	char addr[ADDR_BYTES];
	char conn_type[CONN_TYPE_BYTES];
};

struct misbehaving {
	struct head head;
	s64 peer_id;
	char reason[MISBEHAVIOR_BYTES];
};

struct mempool_added {
	struct head head;
	u8 txid[HASH_BYTES];
	s64 fee;
	s32 vsize;
	u32 hole;
};

struct mempool_removed {
	struct head head;
	u8 txid[HASH_BYTES];
	s64 fee;
	u64 entry_time;
	s32 vsize;
	u32 hole;
	char reason[REMOVAL_BYTES];
};

struct mempool_replaced {
	struct head head;
	u8 replaced[HASH_BYTES];
	u8 replacement[HASH_BYTES];
	s64 replaced_fee;
	u64 replaced_entry_time;
	s64 replacement_fee;
	s32 replaced_vsize;
	s32 replacement_vsize;
	u32 by_transaction;
	u32 hole;
};

struct mempool_rejected {
	struct head head;
	u8 txid[HASH_BYTES];
	char reason[REJECT_BYTES];
};

struct block_connected {
	struct head head;
	u8 hash[HASH_BYTES];
	u64 transactions;
	s64 sigops;
	s64 duration;
	s32 height;
	s32 inputs;
};

struct utxo_flush {
	struct head head;
	s64 duration;
	u64 coins;
	u64 bytes;
	u32 mode;
	u32 prune;
};

struct utxo_coin {
	struct head head;
	u8 txid[HASH_BYTES];
	s64 value;
	u32 vout;
	u32 height;
	u32 coinbase;
	u32 hole;
};

#endif
