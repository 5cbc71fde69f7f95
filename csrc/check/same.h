// Whether a declaration of ours is that of NVIDIA's header: as many parameters, each of
// the same kind and size. Where theirs has an enumeration, ours has int; where theirs has
// an opaque struct or one by value, ours has the counterpart that is named for it.
#pragma once

#include <type_traits>

namespace trtact::check {

// The struct of theirs that one of ours stands for.
template <class Ours>
struct Counterpart {
  using type = void;
};

template <class Ours, class Theirs>
struct Same {
  static constexpr bool compare() {
    if constexpr (std::is_enum_v<Theirs>) return std::is_same_v<Ours, int> && sizeof(Theirs) == sizeof(int);
    else return std::is_same_v<Ours, Theirs> || std::is_same_v<typename Counterpart<Ours>::type, Theirs>;
  }
  static constexpr bool value = compare();
};

template <class Ours, class Theirs>
struct Same<Ours*, Theirs*> {
  static constexpr bool value = std::is_const_v<Ours> == std::is_const_v<Theirs> &&
                                Same<std::remove_const_t<Ours>, std::remove_const_t<Theirs>>::value;
};

template <class R, class... Ours, class S, class... Theirs>
struct Same<R(Ours...), S(Theirs...)> {
  static constexpr bool compare() {
    if constexpr (sizeof...(Ours) != sizeof...(Theirs)) return false;
    else return (Same<R, S>::value && ... && Same<Ours, Theirs>::value);
  }
  static constexpr bool value = compare();
};

}  // namespace trtact::check

// Outside of namespaces.
#define COUNTERPART(ours, theirs)             \
  template <>                                 \
  struct trtact::check::Counterpart<ours> {   \
    using type = theirs;                      \
  };

// A table's member and the library's function.
#define SAME(table, member, symbol)                                                         \
  static_assert(::trtact::check::Same<decltype(table::member), decltype(&::symbol)>::value, \
                #table "::" #member " is not as NVIDIA declares " #symbol);

// A number of ours and NVIDIA's name for it.
#define NUMBER(ours, theirs) static_assert(ours == static_cast<int>(::theirs), #ours " is not NVIDIA's " #theirs);

// A list of a table's functions names as many as it has.
#define ONE(member, symbol) +1
#define COMPLETE(table, list, rest) \
  static_assert(sizeof(table) == (0 list(ONE)) * sizeof(void (*)()) + (rest), #table " has members that " #list " does not name");
