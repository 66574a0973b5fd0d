/* config.h: how SQLite3MultipleCiphers is built, for every build. Read before the amalgamation (-include), so the options
 * stand here with their reasons and not on a command line. The Makefile adds -DSQLITE_OS_OTHER=1 for the core. */
#ifndef SOTTO_SQLITE_CONFIG_H
#define SOTTO_SQLITE_CONFIG_H

#ifdef __wasm__
#define __WASM__ 1 /* SQLite3MC: entropy comes from getentropy(), which emscripten/runtime.c has */
#endif

/* One cipher: ChaCha20-Poly1305, a tag for each page. */
#define CODEC_TYPE CODEC_TYPE_CHACHA20
#define HAVE_CIPHER_CHACHA20 1
#define HAVE_CIPHER_AES_128_CBC 0
#define HAVE_CIPHER_AES_256_CBC 0
#define HAVE_CIPHER_SQLCIPHER 0
#define HAVE_CIPHER_RC4 0
#define HAVE_CIPHER_ASCON128 0
#define HAVE_CIPHER_AEGIS 0
#define SQLITE3MC_OMIT_AES_HARDWARE_SUPPORT 1

/* Full-text search over the device's own messages. */
#define SQLITE_ENABLE_FTS5 1

/* Nothing deleted stays readable in a file's free pages, and no temporary file is written outside the encrypted store. */
#define SQLITE_SECURE_DELETE 1
#define SQLITE_TEMP_STORE 3

/* A commit is on the medium when it returns, also in WAL mode: "sent" may not be forgotten by a power cut. */
#define SQLITE_DEFAULT_SYNCHRONOUS 2
#define SQLITE_DEFAULT_WAL_SYNCHRONOUS 2
#define SQLITE_DEFAULT_FOREIGN_KEYS 1
#define SQLITE_DQS 0 /* "text" is a name, never a string */
#define SQLITE_LIKE_DOESNT_MATCH_BLOBS 1
#define SQLITE_DEFAULT_MEMSTATUS 0
#define SQLITE_MAX_MMAP_SIZE 0  /* a mapped page would be read behind the cipher's back */
#define SQLITE_MAX_EXPR_DEPTH 0 /* our own statements only; no SQL comes from outside */
#define SQLITE_THREADSAFE 0     /* core: one thread a handle; relay: one thread */
#define SQLITE_UNTESTABLE 1
#define SQLITE_USE_ALLOCA 1

/* Left out: nothing here uses them, and the module is downloaded by phones. */
#define SQLITE_OMIT_AUTHORIZATION 1
#define SQLITE_OMIT_COMPILEOPTION_DIAGS 1
#define SQLITE_OMIT_COMPLETE 1
#define SQLITE_OMIT_DECLTYPE 1
#define SQLITE_OMIT_DEPRECATED 1
#define SQLITE_OMIT_DESERIALIZE 1
#define SQLITE_OMIT_GET_TABLE 1
#define SQLITE_OMIT_LOAD_EXTENSION 1
#define SQLITE_OMIT_PROGRESS_CALLBACK 1
#define SQLITE_OMIT_SHARED_CACHE 1
#define SQLITE_OMIT_TCL_VARIABLE 1
#define SQLITE_OMIT_TRACE 1
#define SQLITE_OMIT_UTF16 1
#ifdef SQLITE_OS_OTHER
/* The relay may want these; the core has its own clock (host_now) and its own JSON (cJSON, in core/command only). */
#define SQLITE_OMIT_DATETIME_FUNCS 1
#define SQLITE_OMIT_LOCALTIME 1
#define SQLITE_OMIT_JSON 1
/* Statements the store does not make. The parser still knows some of them: see omitted.c. A
 * migration that needs ALTER TABLE may take it back in for 8 kB (gzip); a new table and a copy need nothing. */
#define SQLITE_OMIT_ALTERTABLE 1
#define SQLITE_OMIT_ANALYZE 1
#define SQLITE_OMIT_AUTOVACUUM 1
#define SQLITE_OMIT_EXPLAIN 1
#define SQLITE_OMIT_GENERATED_COLUMNS 1
#define SQLITE_OMIT_REINDEX 1
#define SQLITE_OMIT_TEMPDB 1
#define SQLITE_OMIT_XFER_OPT 1
/* Ways to make up for a missing index: the store's queries have theirs, or are to be given one. */
#define SQLITE_OMIT_AUTOMATIC_INDEX 1
#define SQLITE_OMIT_BETWEEN_OPTIMIZATION 1
#define SQLITE_OMIT_LIKE_OPTIMIZATION 1
#define SQLITE_OMIT_OR_OPTIMIZATION 1
#ifdef __wasm__
/* The native tests check what they wrote with it; in the module the cipher's tag on each page already tells damage. */
#define SQLITE_OMIT_INTEGRITY_CHECK 1
#endif
#endif

#endif
