#include "waits.h"

#include <algorithm>
#include <set>
#include <sstream>

namespace jobkit {
namespace {

template <typename T>
std::string joined(const std::vector<T>& words) {
  std::ostringstream text;
  for (size_t i = 0; i < words.size(); i++) text << (i ? " " : "") << words[i];
  return text.str();
}

template <typename T>
std::vector<T> words_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<T> words;
  for (T word; stream >> word;) words.push_back(word);
  return words;
}

// The waits of all ranks, and which of them are one operation.
class Waiting {
 public:
  Waiting(int self, const LongWait& own, const std::map<int, Answer>& answers) : answers_(answers) {
    add(self, own);
    for (auto& [rank, answer] : answers) {
      for (const LongWait& wait : answer.waits) {
        if (rank != self || wait.keys != own.keys) add(rank, wait);
      }
    }
    std::map<std::string, size_t> first;
    for (size_t i = 0; i < nodes_.size(); i++) {
      for (const std::string& key : nodes_[i].wait->keys) unite(first.try_emplace(key, i).first->second, i);
    }
  }

  Diagnosis diagnose() {
    visit(operation_of(0), {});
    std::stable_sort(found_.chains.begin(), found_.chains.end(),
                     [](const Chain& a, const Chain& b) { return a.hopeless > b.hopeless; });
    return found_;
  }

 private:
  struct Node {
    int rank;
    const LongWait* wait;
    size_t parent;  // towards the one that stands for the operation
  };
  struct Entered {
    size_t operation;
    Hop by;
  };

  void add(int rank, const LongWait& wait) { nodes_.push_back({rank, &wait, nodes_.size()}); }

  size_t operation_of(size_t i) const {
    while (nodes_[i].parent != i) i = nodes_[i].parent;
    return i;
  }

  void unite(size_t a, size_t b) {
    size_t x = operation_of(a), y = operation_of(b);
    nodes_[std::max(x, y)].parent = std::min(x, y);
  }

  bool takes_part(int rank, size_t operation) const {
    for (size_t i = 0; i < nodes_.size(); i++) {
      if (nodes_[i].rank == rank && operation_of(i) == operation) return true;
    }
    return false;
  }

  // Whether the rank has entered the collective, for too short a time to say that it waits.
  static bool has_entered(const Answer& answer, const LongWait& wait) {
    for (const Progress& each : answer.progress) {
      for (const std::string& key : wait.keys) {
        if (auto [context, seq] = parse_collective(key); context == each.context && seq && each.seq >= seq)
          return true;
      }
    }
    return false;
  }

  static std::pair<uint32_t, uint32_t> parse_collective(const std::string& key) {
    unsigned context = 0, seq = 0;
    char colon = 0;
    std::istringstream stream(key);
    if (stream >> context >> colon >> seq && stream.eof()) return {context, seq};
    return {0, 0};
  }

  void visit(size_t operation, const std::vector<Entered>& path) {
    visited_.insert(operation);
    for (size_t i = 0; i < nodes_.size(); i++) {
      if (operation_of(i) != operation) continue;
      for (int peer : nodes_[i].wait->missing) {
        if (followed_.insert({operation, peer}).second && !takes_part(peer, operation))
          follow(peer, *nodes_[i].wait, operation, path);
      }
    }
  }

  void follow(int peer, const LongWait& wait, size_t operation, const std::vector<Entered>& path) {
    auto at = answers_.find(peer);
    if (at == answers_.end()) return;
    const Answer& answer = at->second;
    if (!answer.gone.empty()) return end(path, {peer, answer.gone}, true);
    if (answer.silent) return end(path, {peer, "does not answer"}, true);
    if (has_entered(answer, wait)) return;
    if (answer.waits.empty()) {
      bool collective = !wait.keys.empty() && parse_collective(wait.keys[0]).second > 0;
      return end(
          path,
          {peer, std::string("is alive and has not called ") + (collective ? "it" : "its part") + " yet"},
          false);
    }
    for (size_t i = 0; i < nodes_.size(); i++) {
      if (nodes_[i].rank != peer) continue;
      size_t next = operation_of(i);
      std::vector<Entered> longer = path;
      if (longer.empty()) longer.push_back({operation, {}});
      longer.push_back({next, {peer, "waits in " + nodes_[i].wait->text}});
      auto again = std::find_if(longer.begin(), longer.end() - 1,
                                [&](const Entered& each) { return each.operation == next; });
      if (again != longer.end() - 1) {
        close_cycle(again + 1, longer.end());
      } else if (!visited_.count(next)) {
        visit(next, longer);
      }
    }
  }

  void end(const std::vector<Entered>& path, const Hop& last, bool hopeless) {
    Chain chain;
    for (size_t i = 1; i < path.size(); i++) chain.hops.push_back(path[i].by);
    chain.hops.push_back(last);
    chain.hopeless = hopeless;
    found_.chains.push_back(std::move(chain));
  }

  // The lowest rank comes first, so that all ranks tell it in the same words.
  void close_cycle(std::vector<Entered>::const_iterator first, std::vector<Entered>::const_iterator last) {
    if (!found_.cycle.empty()) return;
    for (auto at = first; at != last; ++at) found_.cycle.push_back(at->by);
    auto lowest = std::min_element(found_.cycle.begin(), found_.cycle.end(),
                                   [](const Hop& a, const Hop& b) { return a.rank < b.rank; });
    std::rotate(found_.cycle.begin(), lowest, found_.cycle.end());
  }

  const std::map<int, Answer>& answers_;
  std::vector<Node> nodes_;  // the first is the wait that is followed
  std::set<size_t> visited_;
  std::set<std::pair<size_t, int>> followed_;
  Diagnosis found_;
};

}  // namespace

std::string collective_key(uint32_t context, uint32_t seq) {
  return std::to_string(context) + ":" + std::to_string(seq);
}

std::string message_key(uint32_t context, int from, int to, int tag, uint32_t seq) {
  return std::to_string(context) + ":" + std::to_string(from) + ">" + std::to_string(to) + ":" +
         std::to_string(tag) + ":" + std::to_string(seq);
}

std::string encode_answer(const Answer& answer) {
  std::string text;
  for (const Progress& each : answer.progress) {
    text += "in\t" + std::to_string(each.context) + " " + std::to_string(each.seq) + "\n";
  }
  for (const LongWait& wait : answer.waits) {
    text += "waits\t" + joined(wait.keys) + "\t" + joined(wait.missing) + "\t" + wait.text + "\n";
  }
  return text;
}

Answer decode_answer(const std::string& text) {
  Answer answer;
  answer.silent = false;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream stream(line);
    std::string kind, first, second, rest;
    std::getline(stream, kind, '\t');
    std::getline(stream, first, '\t');
    std::getline(stream, second, '\t');
    std::getline(stream, rest);
    if (kind == "waits") {
      answer.waits.push_back({rest, words_of<std::string>(first), words_of<int>(second)});
    } else if (auto numbers = words_of<uint32_t>(first); kind == "in" && numbers.size() == 2) {
      answer.progress.push_back({numbers[0], numbers[1]});
    }
  }
  return answer;
}

Diagnosis diagnose(int self, const LongWait& own, const std::map<int, Answer>& answers) {
  return Waiting(self, own, answers).diagnose();
}

}  // namespace jobkit
