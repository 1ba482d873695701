using LoraNotebooks.Hub;

namespace LoraNotebooks.Tests.Hub;

/// <summary>How often something is tried, and how long it is waited in between.</summary>
public sealed class AttemptsTests
{
    private readonly List<double> _waits = [];

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(5)]
    public async Task RunAsync_FaultsThatPass_WaitsTwiceAsLongEachTime(int faults)
    {
        var tried = 0;

        var result = await Attempts.RunAsync(Wait, () => ++tried <= faults ? throw Fault() : Task.FromResult(tried), CancellationToken.None);

        Assert.Equal(faults + 1, result);
        Assert.Equal(Enumerable.Range(0, faults).Select(i => Math.Pow(2, i)), _waits);
    }

    [Fact]
    public async Task RunAsync_FaultThatStays_IsTriedSixTimesAndTold()
    {
        var tried = 0;

        var error = await Assert.ThrowsAsync<HubException>(() => Attempts.RunAsync<int>(Wait, () => throw Fault(number: ++tried), CancellationToken.None));

        Assert.Equal(6, tried);
        Assert.Equal([1, 2, 4, 8, 16], _waits);
        Assert.Equal(
            "Fault 6. 6 attempts failed. Check the network and try again: what was fetched is kept. With HF_HUB_OFFLINE=1 only the cache is used.",
            error.Message);
        Assert.Equal(HubFailure.Unreachable, error.Failure);
        Assert.Equal("Fault 6.", Assert.IsType<TransientFaultException>(error.InnerException).Message);
    }

    [Fact]
    public async Task RunAsync_OtherFault_IsNotTriedAgain()
    {
        var tried = 0;

        await Assert.ThrowsAsync<HubException>(
            () => Attempts.RunAsync<int>(Wait, () => throw new HubException(HubFailure.Denied, $"No {++tried}."), CancellationToken.None));

        Assert.Equal(1, tried);
        Assert.Empty(_waits);
    }

    [Fact]
    public async Task AfterAsync_DamagedFile_AdvisesAgainstTheProxy()
    {
        var attempts = new Attempts(Wait);
        for (var i = 1; i < Attempts.Most; i++)
        {
            await attempts.AfterAsync(Fault(HubFailure.Damaged), CancellationToken.None);
        }

        var error = await Assert.ThrowsAsync<HubException>(() => attempts.AfterAsync(Fault(HubFailure.Damaged), CancellationToken.None));

        Assert.Equal(HubFailure.Damaged, error.Failure);
        Assert.EndsWith("A proxy or a mirror may be changing the file: try without it (HF_ENDPOINT, HTTPS_PROXY).", error.Message);
    }

    [Theory]
    [InlineData(0, true)]
    [InlineData(7, true)]
    [InlineData(300, true)]
    [InlineData(301, false)]
    [InlineData(5400, false)]
    public async Task AfterAsync_WaitThatTheServerAsksFor_IsKeptUpToFiveMinutes(int seconds, bool isWaited)
    {
        var wait = () => new Attempts(Wait).AfterAsync(Fault(retryAfter: TimeSpan.FromSeconds(seconds)), CancellationToken.None);

        if (isWaited)
        {
            await wait();
            Assert.Equal([seconds], _waits);
            return;
        }

        var error = await Assert.ThrowsAsync<HubException>(wait);
        Assert.Equal($"Fault 1. The server asks to wait {seconds / 60} minutes: try again then; what was fetched is kept.", error.Message);
        Assert.Empty(_waits);
    }

    [Fact]
    public async Task Renew_AfterFaults_CountsFromTheBeginning()
    {
        var attempts = new Attempts(Wait);
        await attempts.AfterAsync(Fault(), CancellationToken.None);
        await attempts.AfterAsync(Fault(), CancellationToken.None);

        attempts.Renew();
        await attempts.AfterAsync(Fault(), CancellationToken.None);

        Assert.Equal([1, 2, 1], _waits);
    }

    private static TransientFaultException Fault(HubFailure failure = HubFailure.Unreachable, TimeSpan? retryAfter = null, int number = 1) =>
        new(failure, $"Fault {number}.", retryAfter);

    private Task Wait(TimeSpan time, CancellationToken cancellation)
    {
        _waits.Add(time.TotalSeconds);
        return Task.CompletedTask;
    }
}
