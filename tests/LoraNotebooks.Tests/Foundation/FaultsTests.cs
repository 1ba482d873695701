namespace LoraNotebooks.Tests.Foundation;

/// <summary>The verbs in which settings are checked, and the errors that tell all faults at once.</summary>
public sealed class FaultsTests
{
    private enum Shade
    {
        Dark,
        Light,
    }

    public static TheoryData<double, bool, bool, bool> Numbers => new()
    {
        { -1, false, false, false },
        { -double.Epsilon, false, false, false },
        { 0, false, true, true },
        { double.Epsilon, true, true, true },
        { 1, true, true, true },
        { 1.5, true, true, false },
        { double.PositiveInfinity, false, false, false },
        { double.NegativeInfinity, false, false, false },
        { double.NaN, false, false, false },
    };

    [Theory]
    [MemberData(nameof(Numbers))]
    public void Check_OfANumber_TellsWhatItIsNot(double value, bool isPositive, bool isNotNegative, bool isInRange)
    {
        var faults = new Faults();
        faults.Positive("a", value);
        faults.NotNegative("b", value);
        faults.InRange("c", value, 0, 1);

        string[] all = [$"a: got {value}, expected a positive number", $"b: got {value}, expected 0 or more", $"c: got {value}, expected 0 to 1"];
        bool[] holds = [isPositive, isNotNegative, isInRange];
        Assert.Equal(all.Where((_, i) => !holds[i]), faults);
    }

    [Theory]
    [InlineData(0, "n: got 0, expected a positive whole number")]
    [InlineData(1, null)]
    public void Positive_OfAWholeNumber_BeginsAtOne(int value, string? fault)
    {
        var faults = new Faults();
        faults.Positive("n", value);
        Assert.Equal(fault is null ? [] : [fault], faults);
    }

    [Fact]
    public void Check_OfAChoice_NamesTheChoices()
    {
        var faults = new Faults();
        faults.Defined("shade", Shade.Light);
        faults.Defined("shade", (Shade)7);
        faults.OneOf("act", "silu", ["relu", "silu"]);
        faults.OneOf("act", "Silu", ["relu", "silu"]);

        Assert.Equal(["shade: got 7, expected one of Dark, Light", "act: got Silu, expected one of relu, silu"], faults);
    }

    [Fact]
    public void Within_OfInnerSettings_NamesTheirProperty()
    {
        var faults = new Faults();
        faults.Within("Reading", ["Steps: got 0", "Eta: got 2"]);
        Assert.Equal(["Reading.Steps: got 0", "Reading.Eta: got 2"], faults);
    }

    [Fact]
    public void ThrowIfAny_OfNone_DoesNothing()
    {
        Faults.ThrowIfAny([]);
        Faults.ThrowIfAnyIn("a.json", []);
        Faults.ThrowIfAny([], static _ => throw new InvalidOperationException("asked without need"));
    }

    [Fact]
    public void ThrowIfAny_OfFaults_ListsAllUnlessTold()
    {
        string[] twelve = [.. Enumerable.Range(1, 12).Select(static i => $"f{i}")];

        Assert.Equal(
            "The configuration has 1 unsupported or wrong value:\n- f1",
            Assert.Throws<ArgumentException>(() => Faults.ThrowIfAny(twelve[..1])).Message);
        Assert.Equal(
            $"The run has 12 unsupported or wrong values:\n- {string.Join("\n- ", twelve)}",
            Assert.Throws<ArgumentException>(() => Faults.ThrowIfAny(twelve, "The run")).Message);
        Assert.EndsWith(
            "- f10\n- and 2 more",
            Assert.Throws<ArgumentException>(() => Faults.ThrowIfAny(twelve, "The run", Listing.Most)).Message,
            StringComparison.Ordinal);
        Assert.Equal(
            "'a.json' has 2 unsupported or wrong values:\n- f1\n- f2",
            Assert.Throws<InvalidDataException>(() => Faults.ThrowIfAnyIn("a.json", twelve[..2])).Message);
    }
}
