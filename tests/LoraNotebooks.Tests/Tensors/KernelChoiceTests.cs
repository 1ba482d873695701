using LoraNotebooks.Tensors.Kernels;
using LoraNotebooks.Tests.Models;

namespace LoraNotebooks.Tests.Tensors;

/// <summary>Which of two ways is taken: as is set, else as was measured before, else as is measured now.</summary>
public sealed class KernelChoiceTests : IDisposable
{
    private const int Short = 2, Long = 40;

    private readonly TemporaryFolder _folder = new();
    private int _trials;

    private string File => Path.Combine(_folder.Path, "choices.json");

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(Long, Short, "quick")]
    [InlineData(Short, Long, "plain")]
    [InlineData(Long, Long, "plain")]
    public void Verdict_NothingKnown_IsTheOtherWayOnlyIfItIsClearlyFaster(int usual, int other, string way)
    {
        var choice = Choice("auto", usual, other);

        Assert.False(choice.IsDecided);
        Assert.Equal(way, choice.Verdict.Way);
        Assert.Equal(way == "quick", choice.TakesOther);
        Assert.True(choice.IsDecided);
        Assert.Equal(1, _trials);
    }

    [Fact]
    public void Verdict_MeasuredBefore_IsReadAndNotMeasuredAnew()
    {
        var ratio = Choice("auto", Long, Short).Verdict.Ratio;

        var again = Choice("auto", Short, Long);

        Assert.Equal(new KernelVerdict("quick", ratio), again.Verdict);
        Assert.InRange(ratio!.Value, 0, 0.85);
        Assert.Equal(1, _trials);
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("null")]
    [InlineData("""{"work":{"Way":"a way of another version","Ratio":0.1}}""")]
    public void Verdict_FileIsNotUsable_IsMeasured(string content)
    {
        System.IO.File.WriteAllText(File, content);

        Assert.Equal("quick", Choice("auto", Long, Short).Verdict.Way);
        Assert.Equal("quick", new KernelStore(() => File).Find(Choice("auto", Long, Short))!.Way);
    }

    [Fact]
    public void Keep_OtherAnswers_Stay()
    {
        var store = new KernelStore(() => File);
        var (one, two) = (Choice("auto", Long, Short), new KernelChoice("rest", "a", "b", Settings("auto"), store, Trial(1, 1)));
        store.Keep(one, new("plain", 2));
        store.Keep(two, new("b", 0.5));

        Assert.Equal((new KernelVerdict("plain", 2), new KernelVerdict("b", 0.5)), (store.Find(one), store.Find(two)));
    }

    [Theory]
    [InlineData("usual", "plain")]
    [InlineData("Work = Quick", "quick")]
    [InlineData("rest=b, work=plain", "plain")]
    public void Verdict_Set_IsTakenWithoutAMeasurement(string setting, string way)
    {
        Assert.Equal(new KernelVerdict(way, null), Choice(setting, Long, Short).Verdict);
        Assert.Equal(0, _trials);
        Assert.False(System.IO.File.Exists(File));
    }

    [Theory]
    [InlineData("rest=b")]
    [InlineData("AUTO")]
    [InlineData(" ")]
    public void For_NotSet_IsMeasured(string setting) => Assert.Null(Settings(setting).For(Choice("auto", 1, 1)));

    [Theory]
    [InlineData("fast")]
    [InlineData("work=fast")]
    [InlineData("walk=quick")]
    [InlineData("work=quick,")]
    [InlineData("work=quick,work=plain")]
    public void For_UnknownSetting_SaysWhatThereIs(string setting)
    {
        var error = Assert.Throws<InvalidOperationException>(() => Settings(setting).For(Choice("auto", 1, 1)));

        Assert.Equal(
            $"LORANOTEBOOKS_KERNELS is '{setting}', expected auto, usual, or a way for each, with commas between them: "
                + "work=plain or work=quick, rest=a or rest=b.",
            error.Message);
    }

    [Fact]
    public void Measure_OtherWayIsHopeless_IsTriedOnce()
    {
        var tries = 0;
        var ratio = KernelChoice.Measure(() => (() => Thread.Sleep(Short), Slowly));

        Assert.Equal(1, tries);
        Assert.InRange(ratio, 4, double.PositiveInfinity);

        void Slowly()
        {
            tries++;
            Thread.Sleep(10 * Long);
        }
    }

    [Fact]
    public void Take_UntilDisposed_IsTheWay()
    {
        var choice = Choice("usual", 1, 1);
        using (choice.Take("quick"))
        {
            Assert.True(choice.TakesOther);
        }

        Assert.False(choice.TakesOther);
    }

    private KernelSettings Settings(string value) =>
        new(value, () => [Choice("auto", 1, 1), new("rest", "a", "b", Settings("auto"), new KernelStore(static () => null), Trial(1, 1))]);

    private KernelChoice Choice(string setting, int usual, int other) =>
        new("work", "plain", "quick", Settings(setting), new KernelStore(() => File), Trial(usual, other));

    private Func<(Action Usual, Action Other)> Trial(int usual, int other) => () =>
    {
        _trials++;
        return (() => Thread.Sleep(usual), () => Thread.Sleep(other));
    };
}
