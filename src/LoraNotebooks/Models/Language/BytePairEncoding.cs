using System.Text;

namespace LoraNotebooks.Models.Language;

/// <summary>
/// Byte-level byte-pair encoding with an end-of-word mark (Sennrich et al. 2016, arXiv:1508.07909, over the bytes of UTF-8
/// as in GPT-2): a word starts as its bytes, the last one marked <c>&lt;/w&gt;</c>, and the adjacent pair that was merged
/// earliest in training is merged until none is left.
/// </summary>
internal static class BytePairEncoding
{
    /// <summary>The mark that the last symbol of a word carries.</summary>
    public const string EndOfWord = "</w>";

    /// <summary>
    /// One printable character per byte, in the order of CLIP's vocabulary (GPT-2's <c>bytes_to_unicode</c>): printable Latin-1
    /// stands for itself, the other bytes follow as U+0100, U+0101, …
    /// </summary>
    public static IReadOnlyList<(byte Byte, char Symbol)> Alphabet { get; } = BuildAlphabet();

    private static readonly char[] SymbolOfByte = Alphabet.OrderBy(pair => pair.Byte).Select(pair => pair.Symbol).ToArray();
    private static readonly Dictionary<char, byte> ByteOfSymbol = Alphabet.ToDictionary(pair => pair.Symbol, pair => pair.Byte);

    /// <summary>The symbols that a word starts as: its UTF-8 bytes, the last one with <see cref="EndOfWord"/>.</summary>
    public static List<string> Symbols(string word)
    {
        var symbols = Encoding.UTF8.GetBytes(word).Select(b => SymbolOfByte[b].ToString()).ToList();
        if (symbols.Count > 0)
        {
            symbols[^1] += EndOfWord;
        }

        return symbols;
    }

    /// <summary>Merges a word's symbols by rank.</summary>
    /// <param name="word">A word without white space.</param>
    /// <param name="ranks">Each pair's place in the list of merges; the lowest goes first.</param>
    public static List<string> Merge(string word, IReadOnlyDictionary<(string Left, string Right), int> ranks)
    {
        var symbols = Symbols(word);
        while (true)
        {
            (string Left, string Right)? best = null;
            var bestRank = int.MaxValue;
            for (var i = 0; i + 1 < symbols.Count; i++)
            {
                if (ranks.TryGetValue((symbols[i], symbols[i + 1]), out var rank) && rank < bestRank)
                {
                    (best, bestRank) = ((symbols[i], symbols[i + 1]), rank);
                }
            }

            if (best is not { } pair)
            {
                return symbols;
            }

            Apply(symbols, pair);
        }
    }

    /// <summary>
    /// Learns merges: count every adjacent pair over all words, merge the most frequent one (of equals the first in ordinal
    /// order), repeat (algorithm 1 of the paper).
    /// </summary>
    /// <param name="wordCounts">How often each word occurs.</param>
    /// <param name="limit">The most merges to learn; fewer when every word has become one symbol.</param>
    public static List<(string Left, string Right)> Learn(IReadOnlyDictionary<string, int> wordCounts, int limit)
    {
        var words = wordCounts.Select(word => (Symbols: Symbols(word.Key), Count: (long)word.Value)).ToList();
        var merges = new List<(string Left, string Right)>();
        while (merges.Count < limit)
        {
            var counts = new Dictionary<(string Left, string Right), long>();
            foreach (var (symbols, count) in words)
            {
                for (var i = 0; i + 1 < symbols.Count; i++)
                {
                    var pair = (symbols[i], symbols[i + 1]);
                    counts[pair] = counts.GetValueOrDefault(pair) + count;
                }
            }

            if (counts.Count == 0)
            {
                break;
            }

            var best = counts.OrderByDescending(pair => pair.Value)
                .ThenBy(pair => pair.Key.Left, StringComparer.Ordinal)
                .ThenBy(pair => pair.Key.Right, StringComparer.Ordinal)
                .First().Key;
            merges.Add(best);
            foreach (var (symbols, _) in words)
            {
                Apply(symbols, best);
            }
        }

        return merges;
    }

    /// <summary>The text of a sequence of symbols: bytes back from characters, ends of words as spaces.</summary>
    public static string Text(IEnumerable<string> symbols)
    {
        var bytes = new List<byte>();
        foreach (var symbol in symbols)
        {
            var endsWord = symbol.EndsWith(EndOfWord, StringComparison.Ordinal);
            foreach (var character in endsWord ? symbol[..^EndOfWord.Length] : symbol)
            {
                bytes.Add(ByteOfSymbol.TryGetValue(character, out var value) ? value : (byte)'?');
            }

            if (endsWord)
            {
                bytes.Add((byte)' ');
            }
        }

        return Encoding.UTF8.GetString([.. bytes]).Trim();
    }

    private static void Apply(List<string> symbols, (string Left, string Right) pair)
    {
        // Moved together in one pass: removing one by one would take the square of a long word's length.
        var kept = 0;
        for (var i = 0; i < symbols.Count; i++)
        {
            var isPair = i + 1 < symbols.Count && symbols[i] == pair.Left && symbols[i + 1] == pair.Right;
            symbols[kept++] = isPair ? symbols[i] + symbols[++i] : symbols[i];
        }

        symbols.RemoveRange(kept, symbols.Count - kept);
    }

    private static (byte Byte, char Symbol)[] BuildAlphabet()
    {
        var printable = Enumerable.Range('!', '~' - '!' + 1)
            .Concat(Enumerable.Range(0xA1, 0xAC - 0xA1 + 1))
            .Concat(Enumerable.Range(0xAE, 0xFF - 0xAE + 1))
            .ToList();
        var others = Enumerable.Range(0, 256).Except(printable);
        return [.. printable.Select(b => ((byte)b, (char)b)), .. others.Select((b, i) => ((byte)b, (char)(0x100 + i)))];
    }
}
