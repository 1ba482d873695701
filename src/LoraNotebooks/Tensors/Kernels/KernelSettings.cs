namespace LoraNotebooks.Tensors.Kernels;

/// <summary>Ways that are set in advance (<see cref="KernelChoices.Variable"/>).</summary>
internal sealed class KernelSettings
{
    private readonly string _text;
    private readonly Func<IReadOnlyList<KernelChoice>> _all;

    /// <summary>Takes the variable's value; names and ways are looked at when they are asked for.</summary>
    /// <param name="value">The value; none is <c>auto</c>.</param>
    /// <param name="all">All questions there are.</param>
    public KernelSettings(string? value, Func<IReadOnlyList<KernelChoice>> all)
    {
        _text = string.IsNullOrWhiteSpace(value) ? "auto" : value.Trim().ToLowerInvariant();
        _all = all;
    }

    /// <summary>The way that is set for a question; <see langword="null"/> if it shall be measured.</summary>
    /// <param name="choice">The question.</param>
    /// <exception cref="InvalidOperationException">The setting names a question or a way that there is not, or one question twice.</exception>
    public string? For(KernelChoice choice)
    {
        if (_text is "auto" or "usual")
        {
            return _text == "auto" ? null : choice.Usual;
        }

        var all = _all();
        var named = new Dictionary<string, string>();
        foreach (var part in _text.Split(',', StringSplitOptions.TrimEntries))
        {
            if (part.Split('=', StringSplitOptions.TrimEntries) is not [var name, var way]
                || all.FirstOrDefault(known => known.Name == name) is not { } known
                || (way != known.Usual && way != known.Other)
                || !named.TryAdd(name, way))
            {
                throw new InvalidOperationException(
                    $"{KernelChoices.Variable} is '{_text}', expected auto, usual, or a way for each, with commas between them: "
                        + $"{string.Join(", ", all.Select(static choice => $"{choice.Name}={choice.Usual} or {choice.Name}={choice.Other}"))}.");
            }
        }

        return named.GetValueOrDefault(choice.Name);
    }
}
