using System.Globalization;
using System.Text.RegularExpressions;

namespace LoraNotebooks.Models.Language;

/// <summary>A part of a prompt and its weight.</summary>
/// <param name="Text">The part, without the marks of weights.</param>
/// <param name="Weight">The weight; 1 is none.</param>
/// <remarks>
/// <c>(a)</c> weighs 1.1, <c>(a:1.3)</c> 1.3 and <c>[a]</c> 1/1.1; nested brackets multiply, an open one reaches to the end, and a bracket after
/// a backslash is a character. Notation: WebUI's prompts, as kohya-ss/sd-scripts reads them (library/strategy_base.py).
/// </remarks>
public readonly partial record struct WeightedText(string Text, double Weight)
{
    private const double Stronger = 1.1;

    /// <summary>The parts of a prompt in order; neighbours have different weights. The empty prompt is one empty part.</summary>
    /// <param name="prompt">Any text.</param>
    public static IReadOnlyList<WeightedText> Parse(string prompt)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        var parts = new List<WeightedText>();
        Stack<int> round = new(), square = new();
        foreach (Match match in Marks().Matches(prompt))
        {
            switch (match.Value)
            {
                case ['\\', ..]:
                    parts.Add(new(match.Value[1..], 1));
                    break;
                case "(":
                    round.Push(parts.Count);
                    break;
                case "[":
                    square.Push(parts.Count);
                    break;
                case ")" when round.Count > 0:
                    Multiply(round.Pop(), Stronger);
                    break;
                case "]" when square.Count > 0:
                    Multiply(square.Pop(), 1 / Stronger);
                    break;
                case [':', .., ')'] when round.Count > 0
                    && double.TryParse(match.Groups["weight"].Value, NumberStyles.Float, CultureInfo.InvariantCulture, out var weight):
                    Multiply(round.Pop(), weight);
                    break;
                default:
                    parts.Add(new(match.Value, 1));
                    break;
            }
        }

        foreach (var start in round)
        {
            Multiply(start, Stronger);
        }

        foreach (var start in square)
        {
            Multiply(start, 1 / Stronger);
        }

        return parts.Count == 0 ? [new("", 1)] : Joined(parts);

        void Multiply(int start, double factor)
        {
            for (var i = start; i < parts.Count; i++)
            {
                parts[i] = parts[i] with { Weight = parts[i].Weight * factor };
            }
        }
    }

    private static List<WeightedText> Joined(List<WeightedText> parts)
    {
        var joined = new List<WeightedText>();
        foreach (var part in parts)
        {
            if (joined.Count > 0 && joined[^1].Weight == part.Weight)
            {
                joined[^1] = part with { Text = joined[^1].Text + part.Text };
            }
            else
            {
                joined.Add(part);
            }
        }

        return joined;
    }

    // An escaped bracket or backslash, a bracket, the end of a weighted part, or a run of anything else.
    [GeneratedRegex(@"\\[()\[\]\\]?|[(\[]|:(?<weight>[+-]?[.0-9]+)\)|[)\]]|[^\\()\[\]:]+|:")]
    private static partial Regex Marks();
}
