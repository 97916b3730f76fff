# make          build, in build/
# make demo     set up this machine, build, and show what the cache is worth
# make test     set up this machine, build, run all tests
# make test-gpu set up this machine, build the cuda engine too, run the tests that need a GPU
# make ci       what else a change must pass: sanitizers, warnings as errors, format, lint
# make install  into PREFIX (default /usr/local), below DESTDIR if that is set
# make clean    remove what was built
PREFIX ?= /usr/local
CMAKE_FLAGS ?=
JOBS ?= $(shell nproc)

# Progress is for people: none where the output is kept.
QUIET := $(if $(filter true,$(CI))$(if $(MAKE_TERMOUT),,pipe),--quiet)

# $(call build,FOLDER,FLAGS[,TARGET])
build = cmake -S . -B $(1) -G Ninja $(2) $(CMAKE_FLAGS) $(if $(QUIET),>/dev/null) && \
	cmake --build $(1) -- -j $(JOBS) $(QUIET) $(3)
address := -DSANITIZE=address,undefined # a comma would end an argument of call
ctest = ctest --output-on-failure --no-tests=error -j $(JOBS) --test-dir
c_files := $(shell find include src report bench cli trigo tests -name '*.[ch]' -o -name '*.cu' -o -name '*.cpp')

all:
	@$(call build,build,-DCMAKE_INSTALL_PREFIX=$(PREFIX))

demo:
	@scripts/setup.sh build
	@$(MAKE) --no-print-directory all
	@scripts/demo.sh

test:
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory all
	@$(ctest) build

test-gpu:
	@scripts/setup.sh test
	@$(call build,build,-DKVF_CUDA=on)
	@$(ctest) build -L gpu

ci: ci-setup ci-format ci-warnings ci-address ci-threads ci-lint

ci-setup:
	@scripts/setup.sh ci

ci-format:
	@.deps/venv/bin/clang-format --dry-run -Werror $(c_files)

# gcc, without ONNX Runtime, with CUDA where there is a toolkit.
ci-warnings:
	@$(call build,build-warnings,-DKVF_WERROR=ON -DKVF_ORT=OFF -DKVF_CUDA=auto)
	@ctest --output-on-failure --test-dir build-warnings -R '^(outside|cuda_device)$$'

# clang, since gcc's AddressSanitizer does not see masked vector loads.
ci-address:
	@CC=clang CXX=clang++ $(call build,build-address,-DKVF_WERROR=ON $(address))
	@$(ctest) build-address

ci-threads:
	@CC=clang $(call build,build-threads,-DKVF_WERROR=ON -DSANITIZE=thread,test_threads)
	@$(ctest) build-threads -L threads

ci-lint: ci-address
	@run-clang-tidy -quiet -p build-address -j $(JOBS) '$(CURDIR)/(src|report|bench|cli|trigo|tests)/.*\.c$$' 2>/dev/null

install: all
	@cmake --install build

clean:
	@rm -rf build build-warnings build-address build-threads

.PHONY: all demo test test-gpu ci ci-setup ci-format ci-warnings ci-address ci-threads ci-lint install clean
