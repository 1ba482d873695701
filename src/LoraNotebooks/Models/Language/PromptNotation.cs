using System.Text.RegularExpressions;

namespace LoraNotebooks.Models.Language;

/// <summary>What means something in the prompts of web interfaces and is plain text here.</summary>
internal static partial class PromptNotation
{
    /// <summary>What of a text is read as its letters only, and what to do; empty where there is nothing.</summary>
    /// <param name="text">The text.</param>
    /// <param name="reading">How it is read.</param>
    public static IReadOnlyList<string> PlainHere(string text, PromptReading reading)
    {
        var found = new List<string>();
        if (Network().Match(text) is { Success: true } network)
        {
            found.Add($"{network.Value} is text here and attaches nothing; load the file with StableDiffusionLora.Load");
        }

        if (reading.Weighting == PromptWeighting.Off && Weight().Match(text) is { Success: true } weight)
        {
            found.Add($"{weight.Value} is text here and weighs nothing; set Reading.Weighting");
        }

        return found;
    }

    [GeneratedRegex("<(?:lora|lyco|hypernet):[^<>]+>", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex Network();

    [GeneratedRegex(@"\((?:[^()\\]|\\.)*:\s*[+-]?(?:\d+\.?\d*|\.\d+)\)", RegexOptions.CultureInvariant)]
    private static partial Regex Weight();
}
