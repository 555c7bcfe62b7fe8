// The engine as the module `_core`: buffers and codes in, nothing decided. The Python layer chooses and
// checks.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdlib>

#include "binding.h"
#include "blocks.h"
#include "bootstrap.h"
#include "ndarray.h"
#include "py_group.h"
#include "py_plan.h"
#include "tuning.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace jobkit {
namespace {

// A line for the program's log. A handler that raises cannot fail the operation that waits.
void warn(const std::string& text) {
  WithGil gil;
  try {
    nb::module_::import_("logging").attr("getLogger")("jobkit.native").attr("warning")("%s", text);
  } catch (nb::python_error& error) {
    error.discard_as_unraisable("jobkit.native");
  }
}

// The Python functions that keep tables, called without the lock. One that raises keeps none.
Memory memory_of(nb::handle recall, nb::handle keep) {
  if (recall.is_none()) return {};
  auto calling = [](nb::handle function, const std::string& conditions, auto... table) {
    WithGil gil;
    try {
      nb::object found = function(conditions, table...);
      return found.is_none() ? std::nullopt : std::optional(nb::cast<std::string>(found));
    } catch (nb::python_error& error) {
      error.discard_as_unraisable("jobkit.native");
      return std::optional<std::string>();
    }
  };
  return {[=](const std::string& conditions) { return calling(recall, conditions); },
          [=](const std::string& conditions, const std::string& table) { calling(keep, conditions, table); }};
}

// What Python found in the library: the addresses of its functions and its handles, by name.
std::shared_ptr<const MpiLibrary> mpi_library(nb::handle given) {
  if (given.is_none()) return nullptr;
  auto word = [&](const char* name) { return nb::cast<uintptr_t>(given[name]); };
  auto made = std::make_shared<MpiLibrary>();
  made->name = nb::cast<std::string>(given["name"]);
  made->one_thread = nb::cast<std::string>(given["one_thread"]);
  made->isend = reinterpret_cast<MpiLibrary::Send>(word("MPI_Isend"));
  made->issend = reinterpret_cast<MpiLibrary::Send>(word("MPI_Issend"));
  made->irecv = reinterpret_cast<MpiLibrary::Receive>(word("MPI_Irecv"));
  made->test = reinterpret_cast<decltype(made->test)>(word("MPI_Test"));
  made->cancel = reinterpret_cast<decltype(made->cancel)>(word("MPI_Cancel"));
  made->error_string = reinterpret_cast<decltype(made->error_string)>(word("MPI_Error_string"));
  made->abort = reinterpret_cast<decltype(made->abort)>(word("MPI_Abort"));
  made->byte = word("byte");
  made->communicator = word("communicator");
  return made;
}

// Ends the job with the status of this process, when that exits.
void abort_mpi_at_exit(nb::handle given) {
  static std::shared_ptr<const MpiLibrary> library;
  library = mpi_library(given);
#ifdef __GLIBC__
  ::on_exit([](int status, void*) { library->abort(library->communicator, status); }, nullptr);
#else
  std::atexit([] { library->abort(library->communicator, 1); });
#endif
}

nb::object py_connect(int rank, const std::vector<std::vector<std::string>>& hosts, const std::string& mode,
                      const std::string& job, uint32_t epoch, nb::bytes token, double connect_timeout_s,
                      double timeout_s, double heartbeat_s, bool verbose, std::string victim_file,
                      bool checks, bool shared_memory, std::string congestion, const std::string& flight_file,
                      const std::string& exit_folder, const std::string& schedules, nb::object recall,
                      nb::object keep, const std::string& label,
                      const std::vector<std::vector<std::vector<std::string>>>& devices,
                      const std::string& library, const std::string& queue_pair, int gid, nb::object mpi) {
  if (mode != "gang" && mode != "hostfile" && mode != "coordinator")
    throw BadArgument("mode '" + mode + "', expected 'gang', 'hostfile' or 'coordinator'");
  if (queue_pair != "auto" && queue_pair != "rc" && queue_pair != "uc")
    throw BadArgument("queue pair '" + queue_pair + "', expected 'auto', 'rc' or 'uc'");
  Choices choices = Choices::parse(schedules);
  const Memory memory = memory_of(recall, keep);
  ConnectOptions wanted{rank,
                        hosts,
                        mode == "gang"       ? Mode::kGang
                        : mode == "hostfile" ? Mode::kHostfile
                                             : Mode::kCoordinator,
                        job,
                        epoch,
                        std::string(token.c_str(), token.size()),
                        connect_timeout_s,
                        verbose,
                        shared_memory,
                        checks,
                        std::move(congestion),
                        exit_folder,
                        label,
                        {devices, library, queue_pair, gid},
                        mpi_library(mpi),
                        signal_arrived,
                        warn};
  auto group = waiting([&] {
    Wiring wiring = connect(wanted);
    checks = wiring.checks;
    auto mesh = Mesh::make(std::move(wiring), warn, heartbeat_s, std::move(victim_file));
    auto made = std::make_shared<Group>(mesh, timeout_s);
    agree_on_choices(*made, choices, memory, {connect_timeout_s, signal_arrived});
    // From here on it is the program's calls that are made, and recorded.
    const std::string& host = mesh->identity(mesh->rank()).host;
    mesh->record_in(std::make_unique<Recorder>(flight_file, job, host, mesh->rank(), mesh->size(), epoch));
    mesh->recorder()->group(0, mesh->rank(), mesh->size());
    return made;
  });
  return new_group(std::move(group), checks);
}

// The names of the RDMA devices of this host, or why none can be used.
nb::tuple py_verbs_devices(const std::string& library) {
  std::string problem;
  std::vector<std::string> names;
  {
    WithoutGil no_gil;
    if (const VerbsLibrary* verbs = VerbsLibrary::load(library, problem))
      names = verbs->device_names(problem);
  }
  return nb::make_tuple(names, problem);
}

nb::object py_empty(nb::handle shape, nb::handle dtype) {
  PyObject* made = ndarray::make(shape.ptr(), dtype.ptr());
  if (!made) throw nb::python_error();
  return nb::steal(made);
}

void py_reduce(int op, int dtype, nb::handle left, nb::handle right, nb::handle out, uint64_t count,
               bool nontemporal) {
  Dtype type = checked_dtype(dtype);
  View a(left, false, count, type), b(right, false, count, type), c(out, true, count, type);
  WithoutGil no_gil;
  reduce(checked_op(op), type, a.data(), b.data(), c.data(), count, nontemporal);
}

void py_reduce_all(int op, int dtype, nb::sequence parts, nb::handle out, uint64_t count, double scale,
                   bool nontemporal) {
  Dtype type = checked_dtype(dtype);
  std::vector<std::unique_ptr<View>> views;
  std::vector<const void*> data;
  for (nb::handle part : parts) {
    views.push_back(std::make_unique<View>(part, false, count, type));
    data.push_back(views.back()->data());
  }
  View result(out, true, count, type);
  WithoutGil no_gil;
  reduce_all(checked_op(op), type, data.data(), static_cast<int>(data.size()), result.data(), count, scale,
             nontemporal);
}

void py_copy(nb::handle out, nb::handle in, uint64_t n_bytes, bool nontemporal) {
  View from(in, false, n_bytes, Dtype::kUint8), to(out, true, n_bytes, Dtype::kUint8);
  WithoutGil no_gil;
  copy(to.data(), from.data(), n_bytes, nontemporal);
}

nb::tuple py_instruction_sets() {
  nb::list names;
  for (const std::string& name : instruction_sets()) names.append(name);
  return nb::tuple(names);
}

// jobkit.errors.BackendError, which is a RuntimeError, with the culprit beside the text.
// Never released: exceptions may be translated until the interpreter is gone.
nb::handle error_type;

// Lets pass what the engine does not throw.
void translate(const std::exception_ptr& thrown, void*) {
  try {
    std::rethrow_exception(thrown);
  } catch (const BadArgument& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const Error& error) {
    nb::object raised = error_type(error.what());
    if (error.culprit() != kNobody) raised.attr("culprit") = error.culprit();
    PyErr_SetObject(error_type.ptr(), raised.ptr());
  }
}

void define_errors(nb::module_& m) {
  nb::dict attributes;
  attributes["__doc__"] =
      "An operation that failed; `culprit` is the rank of the whole job that caused it, or None.";
  attributes["culprit"] = nb::none();
  attributes["__module__"] = m.attr("__name__");
  nb::object made = nb::borrow(reinterpret_cast<PyObject*>(&PyType_Type))(
      "Error", nb::make_tuple(nb::module_::import_("jobkit.errors").attr("BackendError")), attributes);
  error_type = made.release();
  m.attr("Error") = error_type;
  nb::register_exception_translator(translate, nullptr);
}

}  // namespace

void set_python_error(const std::exception_ptr& thrown) {
  try {
    translate(thrown, nullptr);
  } catch (nb::python_error& error) {
    error.restore();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
}

}  // namespace jobkit

NB_MODULE(_core, m) {
  using namespace jobkit;
  nb::set_leak_warnings(false);
  define_errors(m);
  if (!ndarray::import()) throw nb::python_error();
  define_group(m);
  m.def("connect", &py_connect, "rank"_a, "hosts"_a, nb::kw_only(), "mode"_a, "job"_a, "epoch"_a, "token"_a,
        "connect_timeout_s"_a, "timeout_s"_a, "heartbeat_s"_a, "verbose"_a, "victim_file"_a = "",
        "checks"_a = false, "shared_memory"_a = true, "congestion"_a = "", "flight_file"_a = "",
        "exit_folder"_a = "", "schedules"_a = "", "recall"_a = nb::none(), "keep"_a = nb::none(),
        "label"_a = "ring", "devices"_a = std::vector<std::vector<std::vector<std::string>>>(),
        "library"_a = "", "queue_pair"_a = "auto", "gid"_a = -1, "mpi"_a = nb::none());
  m.def("verbs_devices", &py_verbs_devices, "library"_a = "");
  m.def("abort_mpi_at_exit", &abort_mpi_at_exit, "mpi"_a);
  m.def("empty", &py_empty, "shape"_a, "dtype"_a);
  m.def("kept_bytes", &blocks::n_kept);
  m.def("reduce", &py_reduce, "op"_a, "dtype"_a, "left"_a, "right"_a, "out"_a, "count"_a,
        "nontemporal"_a = false);
  m.def("reduce_all", &py_reduce_all, "op"_a, "dtype"_a, "parts"_a, "out"_a, "count"_a, "scale"_a = 1.0,
        "nontemporal"_a = false);
  m.def("copy", &py_copy, "out"_a, "in_"_a, "n_bytes"_a, "nontemporal"_a = false);
  m.def("instruction_sets", &py_instruction_sets);
  m.def("use_instruction_set", &use_instruction_set, "name"_a);
  define_plan(m);
}
