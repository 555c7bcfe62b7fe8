// What the engine throws, and how a system error is worded.
#pragma once

#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>

namespace jobkit {

// No rank, no file descriptor, nobody.
inline constexpr int kNobody = -1;

// An operation that failed. `culprit` is the rank, counted in the whole job, that caused it, or kNobody.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& text, int culprit = kNobody)
      : std::runtime_error(text), culprit_(culprit) {}
  int culprit() const { return culprit_; }

 private:
  int culprit_;
};

// The caller asked to be interrupted (Ctrl-C) while an operation waited.
class Interrupted : public Error {
 public:
  using Error::Error;
};

// Arguments that no rank could use: what Python raises as ValueError.
class BadArgument : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

// The system's words for an error number.
inline std::string system_text(int number) {
  std::string text = std::generic_category().message(number);
  if (number == EMFILE) text += " (raise the limit with 'ulimit -n')";
  if (number == EADDRNOTAVAIL) text += " (no address of this host)";
  return text;
}

}  // namespace jobkit
