namespace LoraNotebooks.Kernel.Doctoring;

/// <summary>How well a thing is.</summary>
public enum Health
{
    /// <summary>As it should be.</summary>
    Ok,

    /// <summary>It works, but slower or with something left out.</summary>
    Warn,

    /// <summary>Essential and missing.</summary>
    Fail,
}

/// <summary>One line of the doctor's report.</summary>
/// <param name="Name">What was looked at.</param>
/// <param name="Health">How it is.</param>
/// <param name="Found">What was found.</param>
/// <param name="Advice">What to do about it; empty if nothing.</param>
public sealed record Check(string Name, Health Health, string Found, string Advice = "");
