# Sotto. `make help` lists what can be made. On Debian 12 or 13 with only git and make present, `make run` and `make test`
# install what is missing (they say what), fetch and check the pinned sources, and build; nothing outside this folder is
# touched but packages.

.DEFAULT_GOAL := help
SHELL := /bin/bash
MAKEFLAGS += --no-builtin-rules --no-print-directory
# The smallest machine this is worked on has two cores; say JOBS=8 on a larger one.
JOBS ?= 2
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(JOBS)
endif
.SUFFIXES:
# V=1 shows the commands themselves.
ifeq ($(V),)
run = @printf '  %-6s %s\n' '$(1)' '$@';
endif
.DELETE_ON_ERROR:

PORT ?= 8080
HOST ?= 127.0.0.1
DATA ?= build/data
SECONDS ?= 60
STEPS ?= 10000
SEED ?= 1
VECTORS ?= ../shared/vectors
CC_NATIVE ?= gcc
CC_CLANG ?= clang
EMCC ?= emcc

include emscripten/sodium.mk

SQLITE_DIR := build/third/sqlite
CJSON_DIR := build/third/cjson
STAMPS := build/.stamps
comma := ,
space := $(subst ,, )

# ---- what is compiled -------------------------------------------------------------------------------------------------

CORE_FOLDERS := base wire crypto mls store client practice command
CORE_SRC := $(wildcard core/*.c) $(foreach d,$(CORE_FOLDERS),$(wildcard core/$(d)/*.c))
# The relay reads what MLS leaves readable and checks signatures; it has no code that could open a message.
RELAY_SRC := $(wildcard server/*.c server/*/*.c core/base/*.c core/wire/*.c core/crypto/signature.c core/crypto/sha256.c \
  core/client/audit_log.c core/client/certificate.c core/mls/types.c)
SUPPORT_SRC := $(wildcard tests/unit/support/*.c)
UNIT_SRC := $(wildcard tests/unit/*_test.c)
FUZZ_SRC := $(wildcard tests/fuzz/*_fuzz.c)

INCLUDES := -Icore -Icore/include -isystem $(SODIUM_DIR)/include -isystem $(SQLITE_DIR) -isystem $(CJSON_DIR)
WARNINGS := -Wall -Wextra -Werror -Wconversion -Wno-sign-conversion -Wstrict-prototypes -Wmissing-prototypes \
  -Wpointer-arith -Wwrite-strings -Wvla
# Tests may be terser about integer conversions; all else holds for them too.
TEST_WARNINGS := -Wall -Wextra -Werror -Wstrict-prototypes -Wno-unused-parameter
DEPENDENCY = -MMD -MP
# assert() stays on in release: NDEBUG is set nowhere. DEFAULT_SOURCE gives POSIX to the server and the tests.
OUR_FLAGS := -std=c11 -D_DEFAULT_SOURCE $(INCLUDES)
SQLITE_FLAGS := -std=gnu11 -w -I$(SQLITE_DIR) -include emscripten/sqlite/config.h

# A variable may be called as a type is (welcome, commit): gcc's plain -Wshadow would mind, clang's does not.
NATIVE_SHADOW := -Wshadow=local
CLANG_SHADOW := -Wshadow
NATIVE_CC := $(CC_NATIVE) -O2 -g -fstack-protector-strong -D_FORTIFY_SOURCE=2
ASAN_CC := $(CC_CLANG) -O1 -g -fno-omit-frame-pointer -fsanitize=address
ASAN_OURS := -fsanitize=undefined -fno-sanitize-recover=undefined
FUZZ_CC := $(CC_CLANG) -O1 -g -fno-omit-frame-pointer -fsanitize=address,fuzzer-no-link
# Its paths are not what is looked for: without their counters the fuzzers run twice as often.
FUZZ_THIRD_CC := $(CC_CLANG) -O2 -g -fno-omit-frame-pointer -fsanitize=address
# Every export must survive, and nothing else: unused functions go at the link.
WASM_CC := $(EMCC) -msimd128 -ffunction-sections -fdata-sections

# ---- set-up -----------------------------------------------------------------------------------------------------------

# Packages to build with; then those that only tests and browsers need.
$(STAMPS)/packages: emscripten/setup
	@mkdir -p $(@D)
	@emscripten/setup build
	@touch $@

$(STAMPS)/test-packages: emscripten/setup | $(STAMPS)/packages
	@mkdir -p $(@D)
	@emscripten/setup build test
	@touch $@

$(STAMPS)/peer-packages: emscripten/setup | $(STAMPS)/test-packages
	@mkdir -p $(@D)
	@emscripten/setup build test peers
	@touch $@

$(STAMPS)/npm: package-lock.json package.json .npmrc | $(STAMPS)/packages
	@echo "npm: installing the packages of package-lock.json into node_modules"
	@npm ci --loglevel=error
	@touch $@

$(STAMPS)/sources: emscripten/deps.lock emscripten/fetch $(wildcard emscripten/patches/*.patch) $(STAMPS)/npm | $(STAMPS)/packages
	@emscripten/fetch build/third
	@touch $@

# These appear with the stamp; they are as new as their unpacking.
THIRD_SRC := $(patsubst %,$(SODIUM_DIR)/%.c,$(SODIUM_FILES) $(SODIUM_NATIVE_FILES) $(SODIUM_RANDOM_FILES)) \
  $(patsubst %,$(SODIUM_DIR)/%.S,$(SODIUM_ASM_FILES)) $(CJSON_DIR)/cJSON.c $(SQLITE_DIR)/sqlite3.c
$(THIRD_SRC): | $(STAMPS)/sources ;

SODIUM_VERSION_H := $(SODIUM_DIR)/include/sodium/version.h
$(SODIUM_VERSION_H): $(STAMPS)/sources
	@sed -e 's/@VERSION@/1.0.22/; s/@SODIUM_LIBRARY_VERSION_MAJOR@/26/; s/@SODIUM_LIBRARY_VERSION_MINOR@/4/' \
	  -e 's/@SODIUM_LIBRARY_MINIMAL_DEF@/#define SODIUM_LIBRARY_MINIMAL 1/' $@.in >$@

# ---- one build of everything, in folder build/$(1) ----------------------------------------------------------------------
# $(1) folder, $(2) compiler for third-party code, $(3) compiler for ours, $(4) flags for libsodium, $(5) its extra files,
# $(6) its assembler files, $(7) ar, $(8) optimisation for libsodium, $(9) for SQLite and cJSON

define build
# clang is among the packages for tests; without this, a fresh machine would compile with it before it is there.
$(1)_TOOLS := $$(if $$(filter asan fuzz clang,$(1)),$(STAMPS)/test-packages)
$(1)_SODIUM_OBJ := $$(patsubst %,build/$(1)/third/sodium/%.o,$$(SODIUM_FILES) $(5) $(6)) build/$(1)/third/sodium/unused.o
$(1)_THIRD_OBJ := $$($(1)_SODIUM_OBJ) build/$(1)/third/sodium/host_randombytes.o build/$(1)/third/sqlite3.o \
  build/$(1)/third/sqlite3_omitted.o build/$(1)/third/cJSON.o
$(1)_CORE_OBJ := $$(CORE_SRC:%.c=build/$(1)/%.o)

build/$(1)/third/sodium/crypto_stream/chacha20/%.o: SODIUM_EXTRA = $$(if $$(filter wasm,$(1)),$$(SODIUM_WASM_CHACHA20_FLAGS))
build/$(1)/third/sodium/crypto_kem/mlkem768/%.o: SODIUM_EXTRA = $$(if $$(filter wasm,$(1)),$$(SODIUM_WASM_MLKEM_FLAGS))
build/$(1)/third/sodium/crypto_pwhash/argon2/argon2-core.o: SODIUM_EXTRA = $$(if $$(filter wasm,$(1)),$$(SODIUM_WASM_ARGON2_FLAGS))

build/$(1)/third/sodium/%.o: $(SODIUM_DIR)/%.c emscripten/sodium.mk $(SODIUM_VERSION_H) | $(STAMPS)/sources $$($(1)_TOOLS)
	@mkdir -p $$(@D)
	$$(call run,CC) $(2) $(8) $$(SODIUM_FLAGS) $(4) $$(SODIUM_EXTRA) -c -o $$@ $$<

build/$(1)/third/sodium/%.o: $(SODIUM_DIR)/%.S emscripten/sodium.mk | $(STAMPS)/sources $$($(1)_TOOLS)
	@mkdir -p $$(@D)
	$$(call run,CC) $(2) $$(SODIUM_FLAGS) $(4) -c -o $$@ $$<

build/$(1)/third/sodium/unused.o: emscripten/sodium/unused.c | $(STAMPS)/packages $$($(1)_TOOLS)
	@mkdir -p $$(@D)
	$$(call run,CC) $(2) $(8) -c -o $$@ $$<

build/$(1)/third/sodium/host_randombytes.o: emscripten/sodium/randombytes.c core/host.h $(SODIUM_VERSION_H) | $(STAMPS)/sources $$($(1)_TOOLS)
	@mkdir -p $$(@D)
	$$(call run,CC) $(2) $(8) $$(SODIUM_FLAGS) -Icore -c -o $$@ $$<

build/$(1)/third/sqlite3.o: emscripten/sqlite/core.c $(SQLITE_DIR)/sqlite3.c emscripten/sqlite/config.h | $(STAMPS)/sources $$($(1)_TOOLS)
	@mkdir -p $$(@D)
	$$(call run,CC) $(2) $(9) $$(SQLITE_FLAGS) -DSQLITE_OS_OTHER=1 -c -o $$@ $$<

build/$(1)/third/sqlite3_omitted.o: emscripten/sqlite/omitted.c | $(STAMPS)/packages $$($(1)_TOOLS)
	@mkdir -p $$(@D)
	$$(call run,CC) $(2) $(9) -w -c -o $$@ $$<

build/$(1)/third/cJSON.o: $(CJSON_DIR)/cJSON.c | $(STAMPS)/sources $$($(1)_TOOLS)
	@mkdir -p $$(@D)
	$$(call run,CC) $(2) $(9) -w -DCJSON_NESTING_LIMIT=16 -c -o $$@ $$<

build/$(1)/libthird.a: $$($(1)_THIRD_OBJ)
	@rm -f $$@
	@$(7) qcs $$@ $$^

build/$(1)/core/%.o: CORE_EXTRA = $$(if $$(filter wasm,$(1)),-Oz)
$$(foreach d,base wire crypto mls,$$(eval build/$(1)/core/$$(d)/%.o: CORE_EXTRA = $$(if $$(filter wasm,$(1)),-O2)))

build/$(1)/core/%.o: core/%.c Makefile $(SODIUM_VERSION_H) | $(STAMPS)/sources $$($(1)_TOOLS)
	@mkdir -p $$(@D)
	$$(call run,CC) $(3) $$(CORE_EXTRA) $$(OUR_FLAGS) $$(WARNINGS) $$(DEPENDENCY) -c -o $$@ $$<

build/$(1)/libsotto.a: $$($(1)_CORE_OBJ)
	@rm -f $$@
	@$(7) qcs $$@ $$^

-include $$($(1)_CORE_OBJ:.o=.d)
endef

# -O1 for third-party code under ASan keeps the build of SQLite short; wasm: size for SQLite, speed for crypto (at -Os ChaCha20
# falls from 635 to 73 MB/s). Our own code spends its time in libsodium and SQLite: -Oz, and -O2 where MLS computes
# (6 kB more, gzipped, and messages 4 % faster). Never both on one command line: after -Oz, emcc adds -fno-inline-functions.
$(eval $(call build,native,$$(NATIVE_CC),$$(NATIVE_CC) $$(NATIVE_SHADOW),$$(SODIUM_NATIVE_FLAGS),$$(SODIUM_NATIVE_FILES),$$(SODIUM_NATIVE_ASM),ar,,))
$(eval $(call build,asan,$$(ASAN_CC),$$(ASAN_CC) $$(ASAN_OURS) $$(CLANG_SHADOW),$$(SODIUM_NATIVE_FLAGS),$$(SODIUM_NATIVE_FILES),$$(SODIUM_NATIVE_ASM),ar,,))
$(eval $(call build,fuzz,$$(FUZZ_THIRD_CC),$$(FUZZ_CC) $$(ASAN_OURS) $$(CLANG_SHADOW),$$(SODIUM_NATIVE_FLAGS),$$(SODIUM_NATIVE_FILES),$$(SODIUM_NATIVE_ASM),ar,,))
# Only for `make ctcheck`, and only the core: what clang makes of it without sanitizers, as emcc does.
# DWARF 4, since the valgrind of Debian 12 stumbles over what clang writes by default.
$(eval $(call build,clang,$$(CC_CLANG) -O2 -gdwarf-4,$$(CC_CLANG) -O2 -gdwarf-4 $$(CLANG_SHADOW),$$(SODIUM_NATIVE_FLAGS),$$(SODIUM_NATIVE_FILES),$$(SODIUM_NATIVE_ASM),ar,,))
$(eval $(call build,wasm,$$(WASM_CC),$$(WASM_CC) $$(CLANG_SHADOW),$$(SODIUM_WASM_FLAGS),,,emar,-O3,-Oz))

# ---- relay ------------------------------------------------------------------------------------------------------------

# The relay's SQLite uses the operating system's files and its libsodium the operating system's generator.
RELAY_THIRD_OBJ := $(native_SODIUM_OBJ) $(patsubst %,build/native/third/sodium/%.o,$(SODIUM_RANDOM_FILES)) \
  build/native/third/sqlite3_unix.o build/native/third/cJSON.o
RELAY_OBJ := $(RELAY_SRC:%.c=build/native/%.o)
RELAY_INCLUDES = $(shell pkg-config --cflags libpq libfido2) -DSOTTO_VERSION='"$(shell sed -n 's/.*"version": "\(.*\)".*/\1/p' package.json)"'
# What knows HTTP, and the program itself: tests of the logic go without.
RELAY_FRONT := %/main.o %/http_front.o %/http_head.o %/http_loop.o %/http_ops.o %/http_tls.o %/options.o %/privileges.o %/sandbox.o %/backup.o \
  %/push.o %/push_client.o %/push_key.o %/doctor_host.o
# Of the logic, which has no HTTP.
RELAY_LOGIC_LIBS = $(shell pkg-config --libs libpq libfido2 libcrypto)
RELAY_LIBS = $(shell pkg-config --libs libwebsockets libuv libssl libcurl libseccomp) $(RELAY_LOGIC_LIBS) -lm -pthread

build/native/third/sqlite3_unix.o: $(SQLITE_DIR)/sqlite3.c emscripten/sqlite/config.h | $(STAMPS)/sources
	@mkdir -p $(@D)
	$(call run,CC) $(NATIVE_CC) $(SQLITE_FLAGS) -c -o $@ $<

build/native/librelaythird.a: $(RELAY_THIRD_OBJ)
	@rm -f $@
	@ar qcs $@ $^

build/native/server/%.o: server/%.c Makefile $(SODIUM_VERSION_H) | $(STAMPS)/sources
	@mkdir -p $(@D)
	$(call run,CC) $(NATIVE_CC) $(NATIVE_SHADOW) $(OUR_FLAGS) $(RELAY_INCLUDES) $(WARNINGS) $(DEPENDENCY) -c -o $@ $<

build/sotto-relay: $(RELAY_OBJ) build/native/librelaythird.a
	$(call run,LINK) $(NATIVE_CC) -o $@ $^ $(RELAY_LIBS)

# The same with our code under the sanitizers: SOTTO_RELAY=build/asan/sotto-relay makes the Node tests use it.
RELAY_ASAN_OBJ := $(RELAY_SRC:%.c=build/asan/%.o)
build/asan/server/%.o: server/%.c Makefile $(SODIUM_VERSION_H) | $(STAMPS)/sources $(STAMPS)/test-packages
	@mkdir -p $(@D)
	$(call run,CC) $(ASAN_CC) $(ASAN_OURS) $(CLANG_SHADOW) $(OUR_FLAGS) $(RELAY_INCLUDES) $(WARNINGS) $(DEPENDENCY) -c -o $@ $<

build/asan/sotto-relay: $(RELAY_ASAN_OBJ) build/native/librelaythird.a
	$(call run,LINK) $(ASAN_CC) $(ASAN_OURS) -o $@ $^ $(RELAY_LIBS)

# And under the one that finds data races; SQLite too, for it is built for one thread (tests/README.md).
TSAN_CC := $(CC_CLANG) -O1 -g -fno-omit-frame-pointer -fsanitize=thread
RELAY_TSAN_OBJ := $(RELAY_SRC:%.c=build/tsan/%.o)
build/tsan/%.o: %.c Makefile $(SODIUM_VERSION_H) | $(STAMPS)/sources $(STAMPS)/test-packages
	@mkdir -p $(@D)
	$(call run,CC) $(TSAN_CC) $(CLANG_SHADOW) $(OUR_FLAGS) $(RELAY_INCLUDES) $(WARNINGS) $(DEPENDENCY) -c -o $@ $<

build/tsan/sqlite3_unix.o: $(SQLITE_DIR)/sqlite3.c emscripten/sqlite/config.h | $(STAMPS)/sources $(STAMPS)/test-packages
	@mkdir -p $(@D)
	$(call run,CC) $(TSAN_CC) $(SQLITE_FLAGS) -c -o $@ $<

build/tsan/sotto-relay: $(RELAY_TSAN_OBJ) build/tsan/sqlite3_unix.o $(filter-out %/sqlite3_unix.o,$(RELAY_THIRD_OBJ))
	$(call run,LINK) $(TSAN_CC) -o $@ $^ $(RELAY_LIBS)

-include $(RELAY_OBJ:.o=.d) $(filter build/asan/server/%,$(RELAY_ASAN_OBJ:.o=.d)) $(RELAY_TSAN_OBJ:.o=.d)

# ---- C tests ------------------------------------------------------------------------------------------------------------

# Tests in which the n-th request of any kind fails (tests/unit/support/faults.h).
FAULT_WRAPS := $(addprefix -Wl$(comma)--wrap=,malloc calloc realloc free arena_take arena_copy arena_free sqlite3_step stretch random_bytes \
  $(addprefix host_file_,open close read write truncate sync delete))
# The relay's logic for tests that have clients too: its own names are hidden, for both have a json_open.
RELAY_NAMES := relay_open relay_close relay_batch_begin relay_handle relay_handle_all relay_batch_end relay_unavailable relay_inbox_answer \
  response_free db_open_sqlite db_close

# $(1) folder of the build, $(2) compiler with sanitizers, $(3) folder of the programs
define unit_tests
$(1)_SUPPORT_OBJ := $$(SUPPORT_SRC:%.c=build/$(1)/%.o)
$(1)_UNIT := $$(UNIT_SRC:tests/unit/%_test.c=$(3)/%)

build/$(1)/tests/%.o: tests/%.c Makefile $(SODIUM_VERSION_H) | $(STAMPS)/sources $(STAMPS)/test-packages
	@mkdir -p $$(@D)
	$$(call run,CC) $(2) $$(OUR_FLAGS) $$(RELAY_INCLUDES) -Itests/unit $$(TEST_WARNINGS) $$(DEPENDENCY) -c -o $$@ $$<

# Tests of the relay's logic link the relay without its front, and nothing of the client.
$$(filter $(3)/relay_%,$$($(1)_UNIT)): $(3)/%: build/$(1)/tests/unit/%_test.o \
  $$(filter-out $$(RELAY_FRONT),$$(RELAY_SRC:%.c=build/$(1)/%.o)) build/native/librelaythird.a
	@mkdir -p $$(@D)
	$$(call run,LINK) $(2) -o $$@ $$^ -lcmocka $$(RELAY_LOGIC_LIBS) -lm $$(LINK_LIBS)

$(3)/relay_sandbox: build/$(1)/server/sandbox.o
$(3)/relay_sandbox: LINK_LIBS = -lseccomp

$$(filter-out $(3)/relay_%,$$($(1)_UNIT)): $(3)/%: build/$(1)/tests/unit/%_test.o $$($(1)_SUPPORT_OBJ) build/$(1)/libsotto.a build/$(1)/libthird.a
	@mkdir -p $$(@D)
	$$(call run,LINK) $(2) $$(LINK_EXTRA) -o $$@ $$(filter %.o,$$^) -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group -lcmocka -lm -pthread $$(LINK_LIBS)

build/$(1)/server/logic.o: $$(filter-out $$(RELAY_FRONT),$$(patsubst %.c,build/$(1)/%.o,$$(filter server/%,$$(RELAY_SRC))))
	@ld -r -o $$@.all $$^ && objcopy $$(addprefix --keep-global-symbol=,$$(RELAY_NAMES)) $$@.all $$@ && rm -f $$@.all

$(3)/mls_fault $(3)/client_fault: LINK_EXTRA = $$(FAULT_WRAPS)
$(3)/client_fault: build/$(1)/server/logic.o
$(3)/client_fault: LINK_LIBS = $$(RELAY_LOGIC_LIBS)

.PRECIOUS: build/$(1)/tests/%.o
-include $$(UNIT_SRC:%.c=build/$(1)/%.d) $$($(1)_SUPPORT_OBJ:.o=.d)
endef

$(eval $(call unit_tests,native,$$(NATIVE_CC),build/tests))
$(eval $(call unit_tests,asan,$$(ASAN_CC) $$(ASAN_OURS),build/asan/bin))

FUZZ_BIN := $(FUZZ_SRC:tests/fuzz/%_fuzz.c=build/fuzz/bin/%)
build/fuzz/tests/%.o: tests/%.c Makefile $(SODIUM_VERSION_H) | $(STAMPS)/sources $(STAMPS)/test-packages
	@mkdir -p $(@D)
	$(call run,CC) $(FUZZ_CC) $(ASAN_OURS) $(OUR_FLAGS) -Itests/unit $(TEST_WARNINGS) $(DEPENDENCY) -c -o $@ $<

# Those of the relay link its logic alone, as its unit tests do, and one the front with it.
FUZZ_RELAY := $(filter build/fuzz/bin/relay_%,$(FUZZ_BIN))
build/fuzz/server/%.o: server/%.c Makefile $(SODIUM_VERSION_H) | $(STAMPS)/sources $(STAMPS)/test-packages
	@mkdir -p $(@D)
	$(call run,CC) $(FUZZ_CC) $(ASAN_OURS) $(OUR_FLAGS) $(RELAY_INCLUDES) $(WARNINGS) $(DEPENDENCY) -c -o $@ $<

$(FUZZ_RELAY): build/fuzz/bin/%: build/fuzz/tests/fuzz/%_fuzz.o $(filter-out $(RELAY_FRONT),$(RELAY_SRC:%.c=build/fuzz/%.o)) \
  build/native/librelaythird.a
	@mkdir -p $(@D)
	$(call run,LINK) $(FUZZ_CC) -fsanitize=fuzzer $(ASAN_OURS) -o $@ $^ $(RELAY_LOGIC_LIBS) -lm $(LINK_LIBS)
build/fuzz/bin/relay_front: $(filter-out %/main.o,$(filter $(RELAY_FRONT),$(RELAY_SRC:%.c=build/fuzz/%.o)))
build/fuzz/bin/relay_front build/asan/bin/replay_relay_front: LINK_LIBS = $(RELAY_LIBS)

$(filter-out $(FUZZ_RELAY),$(FUZZ_BIN)): build/fuzz/bin/%: build/fuzz/tests/fuzz/%_fuzz.o $(SUPPORT_SRC:%.c=build/fuzz/%.o) build/fuzz/libsotto.a build/fuzz/libthird.a
	@mkdir -p $(@D)
	$(call run,LINK) $(FUZZ_CC) -fsanitize=fuzzer $(ASAN_OURS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group -lcmocka -lm -pthread

# The same targets without libFuzzer, in the build that the tests have anyway: `make asan` replays what was found.
REPLAY_BIN := $(FUZZ_SRC:tests/fuzz/%_fuzz.c=build/asan/bin/replay_%)
REPLAY_RELAY := $(filter build/asan/bin/replay_relay_%,$(REPLAY_BIN))
$(REPLAY_RELAY): build/asan/bin/replay_%: build/asan/tests/fuzz/%_fuzz.o build/asan/tests/fuzz/replay.o \
  build/asan/tests/unit/support/host.o build/asan/tests/unit/support/disk.o \
  $(filter-out $(RELAY_FRONT),$(RELAY_SRC:%.c=build/asan/%.o)) build/native/librelaythird.a
	@mkdir -p $(@D)
	$(call run,LINK) $(ASAN_CC) $(ASAN_OURS) -o $@ $^ $(RELAY_LOGIC_LIBS) -lm $(LINK_LIBS)
build/asan/bin/replay_relay_front: $(filter-out %/main.o,$(filter $(RELAY_FRONT),$(RELAY_SRC:%.c=build/asan/%.o)))

$(filter-out $(REPLAY_RELAY),$(REPLAY_BIN)): build/asan/bin/replay_%: build/asan/tests/fuzz/%_fuzz.o build/asan/tests/fuzz/replay.o $(asan_SUPPORT_OBJ) \
  build/asan/libsotto.a build/asan/libthird.a
	@mkdir -p $(@D)
	$(call run,LINK) $(ASAN_CC) $(ASAN_OURS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group -lcmocka -lm -pthread

.PRECIOUS: build/fuzz/tests/%.o
-include $(patsubst %.c,build/fuzz/%.d,$(filter server/%,$(RELAY_SRC))) $(foreach b,fuzz asan,$(FUZZ_SRC:%.c=build/$(b)/%.d) build/$(b)/tests/fuzz/replay.d) $(SUPPORT_SRC:%.c=build/fuzz/%.d)

# ---- wasm ---------------------------------------------------------------------------------------------------------------

# -Oz at the link is for Binaryen alone: it inlines less, and what the compiler made of the crypto stays.

WASM_LINK_FLAGS := -Oz -msimd128 -sSTANDALONE_WASM --no-entry -sALLOW_MEMORY_GROWTH=1 -sINITIAL_MEMORY=4194304 -sTOTAL_STACK=524288 \
  -sMAXIMUM_MEMORY=268435456 -sMALLOC=emmalloc -sFILESYSTEM=0 \
  -sERROR_ON_UNDEFINED_SYMBOLS=0 -sWARN_ON_UNDEFINED_SYMBOLS=0 -Wl,--gc-sections -Wl,--stack-first \
  $(addprefix -Wl$(comma)--wrap=,abort __assert_fail emscripten_resize_heap getentropy getenv \
  gmtime strftime strtod)
SOTTO_EXPORTS := sotto_abi sotto_open sotto_call sotto_alloc sotto_free sotto_close
# $(1) exports; without any, those marked `used`. Linked beside its place and moved there when it is whole.
link_wasm = $(call run,LINK) t=$(@:.wasm=).$$$$.wasm; trap "rm -f $$t" EXIT; \
  $(EMCC) $(WASM_LINK_FLAGS) $(if $(1),-sEXPORTED_FUNCTIONS=$(subst $(space),$(comma),$(addprefix _,$(1)))) -o $$t \
  $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group && node emscripten/finish.mjs $$t $(1) && mv $$t $@

build/wasm/sodium_runtime.o: emscripten/sodium/runtime.c $(SODIUM_VERSION_H) | $(STAMPS)/sources
	@mkdir -p $(@D)
	$(call run,CC) $(WASM_CC) -O2 $(SODIUM_FLAGS) -c -o $@ $<

build/wasm/runtime.o: emscripten/runtime.c core/host.h | $(STAMPS)/packages
	@mkdir -p $(@D)
	$(call run,CC) $(WASM_CC) -O2 -mbulk-memory -fno-builtin -std=c11 -Icore -Wall -Wextra -Werror -c -o $@ $<

build/sotto.wasm: build/wasm/libsotto.a build/wasm/libthird.a build/wasm/runtime.o build/wasm/sodium_runtime.o
	$(call link_wasm,$(SOTTO_EXPORTS))

build/wasm/tests/%.o: tests/%.c $(SODIUM_VERSION_H) | $(STAMPS)/sources
	@mkdir -p $(@D)
	$(call run,CC) $(WASM_CC) -O2 $(OUR_FLAGS) -Itests/unit $(TEST_WARNINGS) $(DEPENDENCY) -c -o $@ $<

# libsodium's primitives by themselves, compiled as in the module: compared with a plain implementation, and the limit that
# the benchmarks are measured against.
build/tests/primitives.wasm: build/wasm/tests/wasm/primitives.o build/wasm/tests/unit/support/chacha20_reference.o \
  build/wasm/libthird.a build/wasm/runtime.o build/wasm/sodium_runtime.o
	@mkdir -p $(@D)
	$(call link_wasm)

# The module, which tells the test of each secret when it is made (tests/wasm/key_life.c).
KEY_LIFE_WRAPS := $(addprefix -Wl$(comma)--wrap=,suite_extract suite_expand_with_label suite_expand_with_labels suite_derive_secret \
  suite_derive_tree_secrets suite_derive_key_pair suite_generate_key_pair kem_encapsulate kem_decapsulate hpke_labeled_extract \
  hpke_labeled_expand suite_decrypt_with_label store_open)
build/tests/key_life.wasm: WASM_LINK_FLAGS += $(KEY_LIFE_WRAPS)
build/tests/key_life.wasm: build/wasm/tests/wasm/key_life.o build/wasm/libsotto.a build/wasm/libthird.a build/wasm/runtime.o \
  build/wasm/sodium_runtime.o
	@mkdir -p $(@D)
	$(call link_wasm,$(SOTTO_EXPORTS) key_life_live key_life_plant)

# The official vectors: one set of sources, native with a main() of its own in tests/vectors/main.c, and in wasm by the
# functions marked `used`. tests/vectors/run.mjs drives both.
VECTORS_SRC := $(wildcard tests/vectors/*.c)
build/tests/vectors: $(VECTORS_SRC:%.c=build/native/%.o) $(native_SUPPORT_OBJ) build/native/libsotto.a build/native/libthird.a
	@mkdir -p $(@D)
	$(call run,LINK) $(NATIVE_CC) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group -lm -pthread

build/tests/vectors.wasm: $(patsubst %.c,build/wasm/%.o,$(filter-out tests/vectors/main.c,$(VECTORS_SRC))) \
  build/wasm/libsotto.a build/wasm/libthird.a build/wasm/runtime.o build/wasm/sodium_runtime.o
	@mkdir -p $(@D)
	$(call link_wasm)
-include $(VECTORS_SRC:%.c=build/native/%.d) $(VECTORS_SRC:%.c=build/wasm/%.d)

# The core under valgrind with secrets marked, as gcc and as clang compile it. Functions with public results are wrapped.
CTCHECK_SRC := $(wildcard tests/ctcheck/*.c)
CTCHECK_WRAPPED := $(shell sed -n 's/^WRAPPED.[a-z]*, \([a-z0-9_]*\),.*/\1/p' tests/ctcheck/public.c)
CTCHECK_BIN := build/tests/ctcheck build/tests/ctcheck-clang
build/tests/ctcheck: build/native/libsotto.a
build/tests/ctcheck-clang: build/clang/libsotto.a
$(CTCHECK_BIN): $(CTCHECK_SRC:%.c=build/native/%.o) $(native_SUPPORT_OBJ) build/native/libthird.a
	@mkdir -p $(@D)
	$(call run,LINK) $(NATIVE_CC) -o $@ $(addprefix -Wl$(comma)--wrap=,$(CTCHECK_WRAPPED)) $(filter %.o,$^) \
	  -Wl,--start-group $(filter %.a,$^) -Wl,--end-group -lm -pthread
-include $(CTCHECK_SRC:%.c=build/native/%.d)

# Members of groups for live sessions with another implementation: tests/interop/README.md.
build/tests/interop.wasm: build/wasm/tests/interop/member.o build/wasm/tests/unit/support/memory_records.o \
  build/wasm/libsotto.a build/wasm/libthird.a build/wasm/runtime.o build/wasm/sodium_runtime.o
	@mkdir -p $(@D)
	$(call link_wasm)
-include build/wasm/tests/interop/member.d build/wasm/tests/unit/support/memory_records.d

# What `make bench` measures inside the core: natively, and in wasm together with all that the module has.
build/tests/bench build/tests/groups: build/tests/%: build/native/tests/bench/%.o build/native/tests/bench/%_main.o \
  build/native/tests/bench/party.o $(native_SUPPORT_OBJ) build/native/libsotto.a build/native/libthird.a
	@mkdir -p $(@D)
	$(call run,LINK) $(NATIVE_CC) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group -lm -pthread

build/tests/bench.wasm: $(patsubst %,build/wasm/tests/bench/%.o,bench groups party) build/wasm/libsotto.a build/wasm/libthird.a \
  build/wasm/runtime.o build/wasm/sodium_runtime.o
	@mkdir -p $(@D)
	$(call link_wasm,$(SOTTO_EXPORTS) $(addprefix bench_,start count name limit most prepare run first_key first_key_stored) \
	  $(addprefix groups_,begin end run act in out out_size figure))
# What `make bench-relay` makes its load with. It knows no more of the core than the relay does.
build/tests/relay_load: $(patsubst %,build/native/tests/bench/%.o,relay_load load load_relay load_peers load_limits) \
  $(patsubst %.c,build/native/%.o,$(filter core/%,$(RELAY_SRC))) build/native/librelaythird.a
	@mkdir -p $(@D)
	$(call run,LINK) $(NATIVE_CC) -o $@ $^ -lpq -lm
-include $(wildcard build/native/tests/bench/*.d build/wasm/tests/bench/*.d)

# Declarations and reference page of the commands, from the module's own manifest.
build/glue/sotto.d.ts: build/sotto.wasm glue/generate.mjs glue/core.mjs core/command/README.md package.json
	$(call run,GEN) node glue/generate.mjs $< $(@D)

# Declarations of the client for those who write TypeScript against the package; they name the commands' by a relative path.
build/types/glue/node.d.mts: build/glue/sotto.d.ts $(wildcard glue/*.mjs) tsconfig.json | $(STAMPS)/npm
	@mkdir -p build/types/build/glue
	$(call run,TYPES) node node_modules/typescript/bin/tsc --allowJs --declaration --emitDeclarationOnly --skipLibCheck \
	  --target es2022 --module nodenext --types node --rootDir . --outDir build/types glue/node.mjs
	@cp $< build/types/build/glue/

# ---- web ----------------------------------------------------------------------------------------------------------------

WEB_SRC := $(shell find web glue -type f 2>/dev/null)
build/web/.built: web/build.mjs build/sotto.wasm $(WEB_SRC) $(STAMPS)/npm
	@node web/build.mjs
	@touch $@

# ---- what people ask for --------------------------------------------------------------------------------------------------

.PHONY: help run native wasm web test check unit asan tsan ctcheck vectors interop node postgres kills e2e lint format fuzz bench bench-relay conformance dist clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 22
	@echo "Options: PORT=$(PORT) HOST=$(HOST) DATA=$(DATA) VECTORS=$(VECTORS) SECONDS=$(SECONDS) JOBS=$(JOBS) V=1"

run: build/sotto-relay build/web/.built ## build, start a relay with a demo clinic, print its links (PORT= HOST= DATA=)
	@exec node glue/demo.mjs --port $(PORT) --host $(HOST) --data $(DATA)

native: build/native/libsotto.a build/native/libthird.a build/sotto-relay ## the core's library and the relay

wasm: build/sotto.wasm ## the core as one WebAssembly module

web: build/web/.built ## the pages, bundled and compressed, in build/web

UNIT_BIN := $(native_UNIT)
ASAN_BIN := $(asan_UNIT) $(REPLAY_BIN)
VECTORS_BIN := $(if $(VECTORS_SRC),build/tests/vectors build/tests/vectors.wasm)
INTEROP_NEEDS := build/tests/interop.wasm
NODE_NEEDS := build/sotto-relay build/sotto.wasm build/tests/primitives.wasm build/tests/key_life.wasm build/types/glue/node.d.mts
E2E_NEEDS := build/sotto-relay build/web/.built $(STAMPS)/test-packages
TEST_RUN = @node tests/run.mjs --vectors $(VECTORS) --jobs $(JOBS)

test: $(STAMPS)/test-packages $(STAMPS)/npm $(UNIT_BIN) $(ASAN_BIN) build/tsan/sotto-relay $(CTCHECK_BIN) $(VECTORS_BIN) $(INTEROP_NEEDS) $(NODE_NEEDS) $(E2E_NEEDS) ## everything
	$(TEST_RUN) lint unit asan races ctcheck vectors interop node conformance e2e postgres

check: $(STAMPS)/test-packages $(UNIT_BIN) $(NODE_NEEDS) ## the fast ones: C and Node
	$(TEST_RUN) unit node conformance

unit: $(UNIT_BIN)
	$(TEST_RUN) unit

asan: $(ASAN_BIN) ## the C tests under clang's address and undefined-behaviour sanitizers
	$(TEST_RUN) asan

tsan: build/tsan/sotto-relay $(STAMPS)/test-packages ## the relay's tests under clang's sanitizer for data races, on both databases
	$(TEST_RUN) tsan

ctcheck: $(CTCHECK_BIN) ## no branch or index on a secret: valgrind, secrets marked undefined
	$(TEST_RUN) ctcheck

vectors: $(VECTORS_BIN) ## the official MLS vectors, native and in wasm (VECTORS=dir)
	$(TEST_RUN) vectors

interop: $(INTEROP_NEEDS) $(STAMPS)/npm ## long random sessions with ts-mls (STEPS= of them in all, first SEED=)
	@node tests/interop/long.mjs $(STEPS) $(SEED)

node: $(NODE_NEEDS)
	$(TEST_RUN) node

postgres: $(NODE_NEEDS) build/tests/relay_schema $(STAMPS)/test-packages ## the relay's tests over a real PostgreSQL
	$(TEST_RUN) postgres

kills: export ROUNDS := $(if $(ROUNDS),$(ROUNDS),100)
kills: export SEED := $(if $(filter file,$(origin SEED)),,$(SEED))
kills: build/sotto-relay $(STAMPS)/test-packages ## kill relay and database under 32 writers, on both databases (ROUNDS=100 SEED=)
	$(TEST_RUN) kills

e2e: $(E2E_NEEDS) ## the pages in headless Chromium
	$(TEST_RUN) e2e

lint: $(STAMPS)/test-packages $(STAMPS)/npm $(STAMPS)/sources build/glue/sotto.d.ts ## layering, formatting, types, forbidden calls
	$(TEST_RUN) lint

format: $(STAMPS)/test-packages ## put the C sources into the house's format
	@find core server tests emscripten -name '*.[ch]' -exec clang-format -i {} +

fuzz: $(FUZZ_BIN) ## each fuzzer for SECONDS= of time
	@for f in $(FUZZ_BIN); do n=$${f##*/}; echo "fuzz: $$n, $(SECONDS) s"; mkdir -p build/fuzz/corpus/$$n; \
	  $$f -max_total_time=$(SECONDS) -max_len=20000 -dict=tests/fuzz/json.dict -artifact_prefix=build/fuzz/$$n- build/fuzz/corpus/$$n \
	  tests/fuzz/corpus/$$n || exit 1; done

bench: $(NODE_NEEDS) $(E2E_NEEDS) build/tests/bench build/tests/groups build/tests/bench.wasm ## measure; writes build/bench.json
	@node tests/bench/bench.mjs

bench-relay: $(STAMPS)/npm $(STAMPS)/peer-packages build/sotto-relay build/tests/relay_load ## the relay under load beside NATS, Mosquitto and bare inserts; writes build/bench-relay.json (LONG=1)
	@LONG=$(LONG) node tests/bench/relay-load.mjs

conformance: $(STAMPS)/npm ## test any server that claims to speak the protocol (URL=, CLINIC_KEY=file)
	@[ -n "$(URL)" ] || { echo "say which server: make conformance URL=https://…" >&2; exit 2; }
	@node tests/conformance/run.mjs "$(URL)" $(if $(CLINIC_KEY),--clinic-key "$(CLINIC_KEY)")

dist: build/sotto-relay build/web/.built $(STAMPS)/test-packages ## what a server needs, as build/sotto.tar.gz and a Debian package
	@rm -rf build/dist && mkdir -p build/dist/sotto
	@cp -r build/sotto-relay build/sotto.wasm build/web LICENSE README.md build/dist/sotto/
	@cp -r server/PROTOCOL.md server/openapi.yaml server/sotto-relay.service build/dist/sotto/
	@rm -f build/dist/sotto/web/.built
	@tar --create --sort=name --owner=0 --group=0 --numeric-owner --mode=go=rX --mtime=@$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || echo 1767225600)} \
	  -C build/dist sotto | gzip -9n >build/sotto.tar.gz
	@echo "build/sotto.tar.gz"
	@echo "build/$$(basename "$$(server/debian/build build/sotto-relay build/web build)")"

clean: ## delete what was built; the tarballs fetched and the packages stay
	@find build -mindepth 1 -maxdepth 1 ! -name cache ! -name .stamps ! -name third ! -name data -exec rm -rf {} + 2>/dev/null || true
