namespace LoraNotebooks.Foundation;

/// <summary>Everything that is wrong with settings, so that it can be told at once: a list that is written in the verbs of <see cref="Check"/>.</summary>
internal sealed class Faults : List<string>
{
    /// <summary>Adds a fault unless a condition holds.</summary>
    /// <param name="condition">What must hold.</param>
    /// <param name="fault">What was got, what is expected, what to do.</param>
    public void Require(bool condition, string fault)
    {
        if (!condition)
        {
            Add(fault);
        }
    }

    /// <summary>Adds the faults of settings inside these, the name of those before each.</summary>
    /// <param name="name">The property that holds the inner settings.</param>
    /// <param name="found">Their faults.</param>
    public void Within(string name, IEnumerable<string> found) => AddRange(found.Select(fault => $"{name}.{fault}"));

    /// <summary>Throws if there are faults in settings that a program made.</summary>
    /// <param name="faults">The faults.</param>
    /// <param name="settings">What the settings are called.</param>
    /// <param name="most">How many are listed; settings have only so many fields, but a field may be a list or a pattern for each layer.</param>
    /// <exception cref="ArgumentException">There are; the message lists them.</exception>
    public static void ThrowIfAny(IReadOnlyList<string> faults, string settings = "The configuration", int most = int.MaxValue) =>
        ThrowIfAny(faults, found => new ArgumentException($"{settings} has {Text(found, most)}"));

    /// <summary>Throws if there are faults in settings that were read from a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="faults">The faults.</param>
    /// <exception cref="InvalidDataException">There are; the message names the file and lists them all.</exception>
    public static void ThrowIfAnyIn(string path, IReadOnlyList<string> faults) =>
        ThrowIfAny(faults, found => new InvalidDataException($"'{path}' has {Text(found)}"));

    /// <summary>Throws if there are faults of any kind.</summary>
    /// <param name="faults">The faults.</param>
    /// <param name="error">The error that tells them.</param>
    public static void ThrowIfAny(IReadOnlyList<string> faults, Func<IReadOnlyList<string>, Exception> error)
    {
        if (faults.Count > 0)
        {
            throw error(faults);
        }
    }

    /// <summary>How many faults of settings there are, and which.</summary>
    public static string Text(IReadOnlyList<string> faults, int most = int.MaxValue) =>
        $"{Listing.Count(faults.Count, "unsupported or wrong value")}:\n{Listing.Lines(faults, most)}";
}

/// <summary>What a value must be. Each verb adds "key: got value, expected …" where it is not; <c>NaN</c> is nothing that a number may be.</summary>
internal static class Check
{
    /// <summary>A whole number of at least 1.</summary>
    public static void Positive(this Faults faults, string key, int value) => faults.Expect(value > 0, key, value, "a positive whole number");

    /// <summary>A finite number above 0.</summary>
    public static void Positive(this Faults faults, string key, double value) =>
        faults.Expect(double.IsFinite(value) && value > 0, key, value, "a positive number");

    /// <summary>A finite number of at least 0.</summary>
    public static void NotNegative(this Faults faults, string key, double value) =>
        faults.Expect(double.IsFinite(value) && value >= 0, key, value, "0 or more");

    /// <summary>A number from one to another, both included.</summary>
    public static void InRange(this Faults faults, string key, double value, double least, double most) =>
        faults.Expect(value >= least && value <= most, key, value, $"{least} to {most}");

    /// <summary>A value that the enumeration names.</summary>
    public static void Defined<T>(this Faults faults, string key, T value)
        where T : struct, Enum => faults.Expect(Enum.IsDefined(value), key, value, $"one of {string.Join(", ", Enum.GetNames<T>())}");

    /// <summary>One of some texts.</summary>
    public static void OneOf(this Faults faults, string key, string value, IReadOnlyCollection<string> known) =>
        faults.Expect(known.Contains(value), key, value, $"one of {string.Join(", ", known)}");

    /// <summary>Anything else.</summary>
    /// <param name="faults">Where a fault is noted.</param>
    /// <param name="holds">Whether the value is as it must be.</param>
    /// <param name="key">The name of the value.</param>
    /// <param name="got">The value.</param>
    /// <param name="expected">What it must be.</param>
    public static void Expect<T>(this Faults faults, bool holds, string key, T got, string expected) =>
        faults.Require(holds, $"{key}: got {got}, expected {expected}");
}
