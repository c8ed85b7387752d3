/* P2P messages and connections. */

#include "common.h"

RING(small_messages);
RING(medium_messages);
RING(large_messages);
RING(huge_messages);
RING(connections);

struct capture {
	u32 payload;	/* payload bytes to take of a message */
	u32 block;	/* the same for `block` messages */
};

/* Written by the loader before it attaches. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct capture);
} capture SEC(".maps");

struct message_args {
	u16 kind;
	s64 peer_id;
	const void *addr;
	const void *conn_type;
	const void *msg_type;
	u64 size;
	const void *payload;
};

static __always_inline void fill_message(struct message *m, const struct message_args *args)
{
	begin(&m->head, args->kind);
	m->peer_id = args->peer_id;
	m->size = args->size;
	read_text(&m->head, m->addr, ADDR_BYTES, args->addr, UNREAD_ADDR);
	read_text(&m->head, m->conn_type, CONN_TYPE_BYTES, args->conn_type, UNREAD_CONN_TYPE);
	read_text(&m->head, m->msg_type, MSG_TYPE_BYTES, args->msg_type, UNREAD_MSG_TYPE);
}

/* Sends a message in a record with room for `room` payload bytes; false if the ring is full. */
#define SEND(ring, type, room, args, wanted) ({						\
	type *_r = bpf_ringbuf_reserve(&ring, sizeof(type), 0);				\
	if (_r) {									\
		u64 _take = (wanted);							\
		fill_message(&_r->m, args);						\
		if (_take > (room))							\
			_take = (room);							\
		/* Else the compiler drops the check that the verifier wants to see. */	\
		barrier_var(_take);							\
		if (_take > 0 && _take <= (room)) {					\
			if (bpf_probe_read_user(_r->payload, _take, (args)->payload))	\
				_r->m.head.unread |= UNREAD_PAYLOAD;			\
			else								\
				_r->m.head.captured = _take;				\
		}									\
		SUBMIT(_r);								\
	}										\
	_r != 0;									\
})

/* Payload bytes to take. A type that cannot be read counts as any other than `block`. */
static __always_inline u64 wanted_bytes(const struct message_args *args)
{
	static const char BLOCK[6] = "block";
	char type[sizeof(BLOCK)] = {};
	bool is_block = true;
	u32 key = 0, limit = 0;
	struct capture *limits = bpf_map_lookup_elem(&capture, &key);

	bpf_probe_read_user_str(type, sizeof(type), args->msg_type);
	for (int i = 0; i < sizeof(BLOCK); i++)
		is_block &= type[i] == BLOCK[i];
	if (limits)
		limit = is_block ? limits->block : limits->payload;
	return args->size < limit ? args->size : limit;
}

static __always_inline int send_message(const struct message_args *args)
{
	u64 wanted = wanted_bytes(args);

	if (wanted > LARGE_BYTES) {
		if (SEND(huge_messages, struct huge_message, HUGE_BYTES, args, wanted))
			return 0;
		count_drop(DROP_HUGE_PAYLOADS);
	} else if (wanted > MEDIUM_BYTES) {
		if (SEND(large_messages, struct large_message, LARGE_BYTES, args, wanted))
			return 0;
		count_drop(DROP_LARGE_PAYLOADS);
	} else if (wanted > SMALL_BYTES) {
		if (SEND(medium_messages, struct medium_message, MEDIUM_BYTES, args, wanted))
			return 0;
		count_drop(DROP_MEDIUM_PAYLOADS);
	}
	/* A small message, or one whose payload found no room: who, what and how much is worth telling without it. */
	if (!SEND(small_messages, struct small_message, SMALL_BYTES, args, wanted <= SMALL_BYTES ? wanted : 0))
		count_drop(DROP_MESSAGES);
	return 0;
}

SEC("usdt")
int BPF_USDT(inbound_message, s64 id, void *addr, void *conn_type, void *msg_type, u64 size, void *payload)
{
	struct message_args args = { INBOUND_MESSAGE, id, addr, conn_type, msg_type, size, payload };

	return send_message(&args);
}

SEC("usdt")
int BPF_USDT(outbound_message, s64 id, void *addr, void *conn_type, void *msg_type, u64 size, void *payload)
{
	struct message_args args = { OUTBOUND_MESSAGE, id, addr, conn_type, msg_type, size, payload };

	return send_message(&args);
}

static __always_inline int send_connection(u16 kind, s64 id, void *addr, void *conn_type, u32 network, u64 number)
{
	struct connection *r = RESERVE(connections, struct connection, DROP_CONNECTIONS);

	if (!r)
		return 0;
	begin(&r->head, kind);
	r->peer_id = id;
	r->number = number;
	r->network = network;
	r->hole = 0;
	read_text(&r->head, r->addr, ADDR_BYTES, addr, UNREAD_ADDR);
	read_text(&r->head, r->conn_type, CONN_TYPE_BYTES, conn_type, UNREAD_CONN_TYPE);
	SUBMIT(r);
	return 0;
}

SEC("usdt")
int BPF_USDT(inbound_connection, s64 id, void *addr, void *conn_type, u32 network, u64 existing)
{
	return send_connection(INBOUND_CONNECTION, id, addr, conn_type, network, existing);
}

SEC("usdt")
int BPF_USDT(outbound_connection, s64 id, void *addr, void *conn_type, u32 network, u64 existing)
{
	return send_connection(OUTBOUND_CONNECTION, id, addr, conn_type, network, existing);
}

SEC("usdt")
int BPF_USDT(closed_connection, s64 id, void *addr, void *conn_type, u32 network, u64 opened)
{
	return send_connection(CLOSED_CONNECTION, id, addr, conn_type, network, opened);
}

SEC("usdt")
int BPF_USDT(evicted_inbound_connection, s64 id, void *addr, void *conn_type, u32 network, u64 opened)
{
	return send_connection(EVICTED_CONNECTION, id, addr, conn_type, network, opened);
}

SEC("usdt")
int BPF_USDT(misbehaving_connection, s64 id, void *reason)
{
	struct misbehaving *r = RESERVE(connections, struct misbehaving, DROP_CONNECTIONS);

	if (!r)
		return 0;
	begin(&r->head, MISBEHAVING);
	r->peer_id = id;
	read_text(&r->head, r->reason, MISBEHAVIOR_BYTES, reason, UNREAD_REASON);
	SUBMIT(r);
	return 0;
}
