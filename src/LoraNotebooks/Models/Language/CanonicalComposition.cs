using System.Globalization;
using System.Text;

namespace LoraNotebooks.Models.Language;

/// <summary>
/// Unicode normalization form C (UAX 15): canonical decomposition, canonical ordering, canonical composition.
/// </summary>
/// <remarks>
/// The runtime's own <see cref="string.Normalize()"/> does nothing where globalization is invariant or ICU is missing,
/// and then one caption would give other tokens on another machine; so the table travels with the library.
/// </remarks>
internal static class CanonicalComposition
{
    private const int HangulBase = 0xAC00, LeadBase = 0x1100, VowelBase = 0x1161, TailBase = 0x11A7;
    private const int Leads = 19, Vowels = 21, Tails = 28;

    private static readonly Lazy<Tables> Data = new(Tables.Read);

    /// <summary>Returns <paramref name="text"/> in form C; lone surrogates become U+FFFD.</summary>
    public static string Compose(string text)
    {
        // Every character below U+0300 is its own form C and combines with nothing before it.
        if (text.All(c => c < '\u0300'))
        {
            return text;
        }

        var tables = Data.Value;
        var points = new List<int>(text.Length);
        foreach (var rune in text.EnumerateRunes())
        {
            Decompose(rune.Value, points, tables);
        }

        Reorder(points, tables);
        var result = new StringBuilder(text.Length);
        foreach (var point in Recompose(points, tables))
        {
            result.Append(new Rune(point).ToString());
        }

        return result.ToString();
    }

    private static void Decompose(int point, List<int> result, Tables tables)
    {
        var syllable = point - HangulBase;
        if (syllable is >= 0 and < Leads * Vowels * Tails)
        {
            result.Add(LeadBase + syllable / (Vowels * Tails));
            result.Add(VowelBase + syllable % (Vowels * Tails) / Tails);
            if (syllable % Tails != 0)
            {
                result.Add(TailBase + syllable % Tails);
            }
        }
        else if (tables.Decompositions.TryGetValue(point, out var parts))
        {
            foreach (var part in parts)
            {
                Decompose(part, result, tables);
            }
        }
        else
        {
            result.Add(point);
        }
    }

    /// <summary>Sorts each run of combining marks by class, keeping the order within a class.</summary>
    private static void Reorder(List<int> points, Tables tables)
    {
        for (var i = 1; i < points.Count; i++)
        {
            var mark = tables.Class(points[i]);
            for (var j = i; mark != 0 && j > 0 && tables.Class(points[j - 1]) > mark; j--)
            {
                (points[j - 1], points[j]) = (points[j], points[j - 1]);
            }
        }
    }

    private static List<int> Recompose(List<int> points, Tables tables)
    {
        var result = new List<int>(points.Count);
        var starter = -1;
        var previousClass = 0;
        foreach (var point in points)
        {
            var pointClass = tables.Class(point);

            // A mark is blocked from its starter by a mark between them of the same or a higher class.
            var adjacent = starter == result.Count - 1;
            if (starter >= 0 && (adjacent || previousClass < pointClass) && Pair(result[starter], point, tables) is { } composed)
            {
                result[starter] = composed;
                continue;
            }

            if (pointClass == 0)
            {
                starter = result.Count;
            }

            previousClass = pointClass;
            result.Add(point);
        }

        return result;
    }

    private static int? Pair(int first, int second, Tables tables)
    {
        if (first is >= LeadBase and < LeadBase + Leads && second is >= VowelBase and < VowelBase + Vowels)
        {
            return HangulBase + ((first - LeadBase) * Vowels + second - VowelBase) * Tails;
        }

        var syllable = first - HangulBase;
        if (syllable is >= 0 and < Leads * Vowels * Tails && syllable % Tails == 0 && second is > TailBase and < TailBase + Tails)
        {
            return first + second - TailBase;
        }

        return tables.Compositions.TryGetValue((first, second), out var composed) ? composed : null;
    }

    private sealed class Tables
    {
        public Dictionary<int, int[]> Decompositions { get; } = [];

        public Dictionary<(int First, int Second), int> Compositions { get; } = [];

        private Dictionary<int, byte> Classes { get; } = [];

        public int Class(int point) => Classes.GetValueOrDefault(point);

        public static Tables Read()
        {
            const string Resource = "LoraNotebooks.Models.Language.canonical-composition.txt";
            using var stream = typeof(CanonicalComposition).Assembly.GetManifestResourceStream(Resource)
                ?? throw new InvalidOperationException($"The assembly lacks its resource {Resource}.");
            using var reader = new StreamReader(stream);
            var tables = new Tables();
            while (reader.ReadLine() is { } line)
            {
                var fields = line.Split(' ');
                if (line.StartsWith('='))
                {
                    tables.AddClass(byte.Parse(fields[0][1..], CultureInfo.InvariantCulture), fields[1..]);
                }
                else if (!line.StartsWith('#'))
                {
                    tables.AddDecomposition(fields);
                }
            }

            return tables;
        }

        private void AddDecomposition(string[] fields)
        {
            var excluded = fields[0].StartsWith('-');
            var point = Hex(fields[0].TrimStart('-'));
            int[] parts = [.. fields[1..].Select(Hex)];
            Decompositions[point] = parts;
            if (parts.Length == 2 && !excluded)
            {
                Compositions[(parts[0], parts[1])] = point;
            }
        }

        private void AddClass(byte value, string[] ranges)
        {
            foreach (var range in ranges)
            {
                var ends = range.Split("..");
                for (var point = Hex(ends[0]); point <= Hex(ends[^1]); point++)
                {
                    Classes[point] = value;
                }
            }
        }

        private static int Hex(string field) => int.Parse(field, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
    }
}
