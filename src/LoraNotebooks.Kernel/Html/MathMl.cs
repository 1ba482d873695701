using System.Text;

namespace LoraNotebooks.Kernel.Html;

/// <summary>Turns the TeX that notebooks on neural networks use into MathML, which browsers draw without a script.</summary>
/// <remarks>
/// Covered: sub- and superscripts, fractions, roots, accents, Greek letters, operators, relations, arrows, big operators,
/// <c>\text</c>, <c>\mathrm</c>, <c>\mathbf</c>, <c>\mathbb</c>, <c>\mathcal</c>, <c>\operatorname</c>, <c>\left … \right</c>.
/// A command that is not covered is shown by its name: readable, and nothing is lost.
/// </remarks>
internal static class MathMl
{
    /// <summary>A formula as a <c>math</c> element.</summary>
    /// <param name="tex">The TeX between the dollar signs.</param>
    /// <param name="isBlock">Whether it stands on lines of its own.</param>
    public static string Convert(string tex, bool isBlock)
    {
        var parser = new Parser(tex);
        var body = parser.Row(until: null);
        var source = SafeHtml.Escape(tex.Trim());
        return $"<math{(isBlock ? " display=\"block\"" : "")}><semantics><mrow>{body}</mrow>"
            + $"<annotation encoding=\"application/x-tex\">{source}</annotation></semantics></math>";
    }

    private ref struct Parser(string tex, int depth = 0)
    {
        private const int MaximumDepth = 50;

        private readonly ReadOnlySpan<char> _tex = tex;
        private int _at;
        private int _depth = depth;

        // The bars that are open where the parser is, the innermost last: "|x|" opens and closes with the same sign.
        private string _bars = "";
        private bool _followsValue;

        /// <summary>Everything up to a closing brace, a command such as <c>right</c>, or the end.</summary>
        public string Row(string? until)
        {
            var row = new StringBuilder();
            var bars = _bars;
            (_bars, _followsValue) = ("", false);
            while (true)
            {
                SkipSpace();
                var isAtEnd = _at >= _tex.Length;
                if (isAtEnd || (until is not null && _tex[_at..].StartsWith(until, StringComparison.Ordinal)))
                {
                    _at += isAtEnd ? 0 : until!.Length;
                    (_bars, _followsValue) = (bars, true);
                    return row.ToString();
                }

                row.Append(Scripted());
            }
        }

        /// <summary>An atom with the scripts that follow it.</summary>
        private string Scripted()
        {
            var isBig = false;
            var body = Atom(ref isBig);
            var followsValue = _followsValue;
            string? sub = null;
            string? sup = null;
            while (true)
            {
                SkipSpace();
                if (_at >= _tex.Length || _tex[_at] is not ('_' or '^' or '\''))
                {
                    break;
                }

                var mark = _tex[_at++];
                if (mark == '\'')
                {
                    sup += "<mo>′</mo>";
                }
                else if (mark == '_')
                {
                    sub += Argument();
                }
                else
                {
                    sup += Argument();
                }
            }

            _followsValue = followsValue;
            var (below, above) = (sub is null ? null : $"<mrow>{sub}</mrow>", sup is null ? null : $"<mrow>{sup}</mrow>");
            return (below, above, isBig) switch
            {
                (null, null, _) => body,
                (not null, null, false) => $"<msub>{body}{below}</msub>",
                (null, not null, false) => $"<msup>{body}{above}</msup>",
                (not null, not null, false) => $"<msubsup>{body}{below}{above}</msubsup>",
                (not null, null, true) => $"<munder>{body}{below}</munder>",
                (null, not null, true) => $"<mover>{body}{above}</mover>",
                _ => $"<munderover>{body}{below}{above}</munderover>",
            };
        }

        private string Argument()
        {
            SkipSpace();
            var isBig = false;
            return _at < _tex.Length ? Atom(ref isBig) : "";
        }

        private string Atom(ref bool isBig)
        {
            if (++_depth > MaximumDepth)
            {
                var rest = _tex[_at..].ToString();
                _at = _tex.Length;
                _depth--;
                return Element("mtext", rest);
            }

            var atom = AtomWithin(ref isBig);
            _depth--;
            return atom;
        }

        private string AtomWithin(ref bool isBig)
        {
            var letter = _tex[_at];
            switch (letter)
            {
                case '{':
                    _at++;
                    return $"<mrow>{Row("}")}</mrow>";
                case '\\':
                    return Command(ref isBig);
                case '}':
                    _at++;
                    return "";
                case '_' or '^':
                    // A script without a base gets an empty one.
                    return "<mrow></mrow>";
                case '&' or '~':
                    _at++;
                    return "<mspace width=\"0.5em\"/>";
            }

            var start = _at;
            if (char.IsAsciiDigit(letter))
            {
                while (_at < _tex.Length
                    && (char.IsAsciiDigit(_tex[_at]) || (_tex[_at] is '.' or ',' && _at + 1 < _tex.Length && char.IsAsciiDigit(_tex[_at + 1]))))
                {
                    _at++;
                }

                _followsValue = true;
                return Element("mn", _tex[start.._at].ToString());
            }

            _at += char.IsHighSurrogate(letter) && _at + 1 < _tex.Length ? 2 : 1;
            var text = _tex[start.._at].ToString();
            if (letter == '|')
            {
                return Bar("|");
            }

            _followsValue = char.IsLetter(letter) || char.IsSurrogate(letter) || letter is ')' or ']' or '!';
            return char.IsLetter(letter) || char.IsSurrogate(letter) ? Element("mi", text)
                // Brackets grow by \left and \right only.
                : Element("mo", letter switch { '-' => "−", '*' => "∗", _ => text }, letter is '(' or ')' or '[' or ']' ? " stretchy=\"false\"" : "");
        }

        /// <summary>A bar that opens, closes or, as in p(x|y), stands between; what stands before it and what follows tell which.</summary>
        private string Bar(string sign)
        {
            if (_bars.EndsWith(sign, StringComparison.Ordinal) && _followsValue)
            {
                _bars = _bars[..^1];
                return BarElement(sign, "postfix");
            }

            if (_followsValue && !HasPartner(sign))
            {
                _followsValue = false;
                return BarElement(sign, "infix");
            }

            (_bars, _followsValue) = (_bars + sign, false);
            return BarElement(sign, "prefix");
        }

        private static string BarElement(string sign, string form) =>
            Element("mo", sign, form == "infix" ? " form=\"infix\" stretchy=\"false\"" : $" form=\"{form}\" fence=\"true\" stretchy=\"false\"");

        /// <summary>Whether the same bar comes once more before the brackets that are open here are closed.</summary>
        private bool HasPartner(string sign)
        {
            var depth = 0;
            for (var at = _at; at < _tex.Length && depth >= 0; at++)
            {
                var isCommand = _tex[at] == '\\' && at + 1 < _tex.Length;
                if (depth == 0 && (sign == "|" ? !isCommand && _tex[at] == '|' : isCommand && _tex[at + 1] == '|'))
                {
                    return true;
                }

                depth += _tex[at] switch { '(' or '[' or '{' => 1, ')' or ']' or '}' => -1, _ => 0 };
                at += isCommand ? 1 : 0;
            }

            return false;
        }

        private string Command(ref bool isBig)
        {
            var name = CommandName();
            var isAfterOperator = TexSymbols.Operators.ContainsKey(name) || TexSymbols.Big.ContainsKey(name) || TexSymbols.Functions.Contains(name);
            if (name is "|" or "Vert" or "vert")
            {
                return Bar(TexSymbols.Operators[name]);
            }

            // Spaces and sizes change nothing of what a bar follows.
            if (name is not ("," or ":" or ";" or " " or "!" or "quad" or "qquad" or "big" or "Big" or "bigl" or "bigr" or "Bigl" or "Bigr"))
            {
                _followsValue = !isAfterOperator || name is "rVert" or "rvert" or "rangle" or "rfloor" or "rceil" or "rbrace" or "}";
            }

            switch (name)
            {
                case "lVert" or "lvert" or "rVert" or "rvert":
                    return BarElement(TexSymbols.Operators[name], name[0] == 'l' ? "prefix" : "postfix");
                case "frac" or "dfrac" or "tfrac":
                    return $"<mfrac>{Group()}{Group()}</mfrac>";
                case "sqrt":
                    return $"<msqrt>{Argument()}</msqrt>";
                case "hat" or "widehat":
                    return Over("^");
                case "bar" or "overline":
                    return Over("¯");
                case "tilde" or "widetilde":
                    return Over("~");
                case "vec":
                    return Over("→");
                case "dot":
                    return Over("˙");
                case "text" or "mathrm" or "textrm" or "operatorname" or "mathit" or "texttt" or "mathtt" or "textit":
                    var plain = RawArgument();
                    return name.StartsWith("text", StringComparison.Ordinal) ? Element("mtext", plain) : Element("mi", plain, " mathvariant=\"normal\"");
                case "mathbf" or "boldsymbol" or "bm" or "textbf":
                    var bold = RawArgument();
                    return bold.All(char.IsAsciiLetterOrDigit)
                        ? Element("mi", string.Concat(bold.Select(TexSymbols.Bold)))
                        : $"<mrow>{new Parser(bold, _depth).Row(until: null)}</mrow>";
                case "mathbb":
                    return Element("mi", string.Concat(RawArgument().Select(TexSymbols.DoubleStruck)));
                case "mathcal" or "mathscr":
                    return Element("mi", string.Concat(RawArgument().Select(TexSymbols.Script)));
                case "left":
                    var open = Delimiter();
                    var inner = Row("\\right");
                    return $"<mrow>{Fence(open, "prefix")}{inner}{Fence(_at < _tex.Length ? Delimiter() : "", "postfix")}</mrow>";
                case "\\":
                    return "<mspace linebreak=\"newline\"/>";
                case "," or ":" or ";" or " " or "!":
                    return name == "!" ? "" : "<mspace width=\"0.2em\"/>";
                case "quad" or "qquad":
                    return $"<mspace width=\"{(name == "quad" ? 1 : 2)}em\"/>";
                case "begin" or "end":
                    RawArgument();
                    return "";
                case "displaystyle" or "limits" or "nolimits" or "big" or "Big" or "bigl" or "bigr" or "Bigl" or "Bigr":
                    return "";
            }

            if (TexSymbols.Big.TryGetValue(name, out var big))
            {
                isBig = true;
                return Element("mo", big);
            }

            if (TexSymbols.Functions.Contains(name))
            {
                isBig = name is "min" or "max" or "lim" or "argmin" or "argmax";
                return Element("mi", name, " mathvariant=\"normal\"");
            }

            return TexSymbols.Letters.TryGetValue(name, out var letter) ? Element("mi", letter)
                : TexSymbols.Operators.TryGetValue(name, out var sign)
                    ? Element("mo", sign, sign is "{" or "}" or "⟨" or "⟩" or "⌊" or "⌋" or "⌈" or "⌉" ? " stretchy=\"false\"" : "")
                : Element("mtext", name.Length == 1 ? name : "\\" + name);
        }

        private string Over(string accent) => $"<mover accent=\"true\">{Group()}<mo stretchy=\"false\">{accent}</mo></mover>";

        private string Group() => $"<mrow>{Argument()}</mrow>";

        private string CommandName()
        {
            var start = ++_at;
            while (_at < _tex.Length && char.IsAsciiLetter(_tex[_at]))
            {
                _at++;
            }

            if (_at == start && _at < _tex.Length)
            {
                _at++;
            }

            return _tex[start.._at].ToString();
        }

        /// <summary>The text of a braced argument, as it is.</summary>
        private string RawArgument()
        {
            SkipSpace();
            if (_at >= _tex.Length || _tex[_at] != '{')
            {
                return _at < _tex.Length ? _tex[_at++].ToString() : "";
            }

            var start = ++_at;
            for (var depth = 1; _at < _tex.Length; _at++)
            {
                depth += _tex[_at] switch { '{' => 1, '}' => -1, _ => 0 };
                if (depth == 0)
                {
                    return _tex[start.._at++].ToString();
                }
            }

            return _tex[start..].ToString();
        }

        private string Delimiter()
        {
            SkipSpace();
            if (_at >= _tex.Length)
            {
                return "";
            }

            if (_tex[_at] != '\\')
            {
                return _tex[_at++] is var sign and not '.' ? sign.ToString() : "";
            }

            var name = CommandName();
            return TexSymbols.Operators.GetValueOrDefault(name, name);
        }

        private void SkipSpace()
        {
            while (_at < _tex.Length && char.IsWhiteSpace(_tex[_at]))
            {
                _at++;
            }
        }

        private static string Fence(string sign, string form) =>
            sign.Length == 0 ? "" : Element("mo", sign, $" form=\"{form}\" fence=\"true\" stretchy=\"true\"");

        private static string Element(string name, string text, string attributes = "") => $"<{name}{attributes}>{SafeHtml.Escape(text)}</{name}>";
    }
}
