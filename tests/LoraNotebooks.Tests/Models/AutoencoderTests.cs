using LoraNotebooks.Models.Diffusion;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Models;

public sealed class AutoencoderTests
{
    [Fact]
    public void EncodeAndDecode_TwoLevels_HalveAndDoubleTheSize()
    {
        using var scope = NewDisposeScope();
        using var vae = new AutoencoderKL(TinyModels.Vae, new Generator(1));
        var (mean, logVariance) = vae.Encode(Pixels());
        Assert.Equal(2, vae.DownsamplingFactor);
        Assert.Equal([2, 3, 4, 6], mean.shape);
        Assert.Equal([2, 3, 4, 6], logVariance.shape);
        Assert.Equal([2, 3, 8, 12], vae.Decode(mean).shape);
    }

    [Fact]
    public void Constructor_OptionalLayersOff_LeavesThemOut()
    {
        using var scope = NewDisposeScope();
        using var full = new AutoencoderKL(TinyModels.Vae, new Generator(1));
        using var bare = new AutoencoderKL(
            TinyModels.Vae with { MidBlockAddAttention = false, UseQuantConv = false, UsePostQuantConv = false },
            new Generator(1));
        string[] optional = ["attentions", "quant_conv"];
        bool IsOptional(string key) => optional.Any(part => key.Contains(part, StringComparison.Ordinal));
        Assert.Contains(full.state_dict().Keys, key => key.StartsWith("post_quant_conv", StringComparison.Ordinal));
        Assert.Equal(full.state_dict().Keys.Where(key => !IsOptional(key)).Order(), bare.state_dict().Keys.Order());
        Assert.Equal([2, 3, 8, 12], bare.call(Pixels()).shape);
    }

    [Fact]
    public void ScaleLatents_WithShift_IsUndoneByUnscaleLatents()
    {
        using var scope = NewDisposeScope();
        using var vae = new AutoencoderKL(TinyModels.Vae with { ScalingFactor = 0.5, ShiftFactor = 2 }, new Generator(1));
        var latents = tensor(new[] { 4f, -1f });
        Assert.Equal([1f, -1.5f], vae.ScaleLatents(latents).data<float>().ToArray());
        Assert.Equal([4f, -1f], vae.UnscaleLatents(vae.ScaleLatents(latents)).data<float>().ToArray());
    }

    [Fact]
    public void KullbackLeibler_KnownMoments_IsTheFormula()
    {
        using var scope = NewDisposeScope();
        var moments = new LatentDistribution(full([1, 1, 1, 2], 3f), full([1, 1, 1, 2], 0.5f));
        Assert.Equal(2 * 0.5 * (9 + Math.Exp(0.5) - 1 - 0.5), moments.KullbackLeibler().item<float>(), 1e-5);
        Assert.Equal(0, Fixtures.MaxDifference(moments.Sample(new Generator(5)), moments.Sample(new Generator(5))));
    }

    [Fact]
    public void ForwardAndBackward_ManyTimes_LeaveNoTensorBehind()
    {
        using var vae = new AutoencoderKL(TinyModels.Vae, new Generator(1));
        void Step()
        {
            using var scope = NewDisposeScope();
            var moments = vae.Encode(Pixels());
            var loss = vae.Decode(moments.Sample(new Generator(1))).square().mean() + moments.KullbackLeibler().mean();
            loss.backward();
            Assert.All(vae.named_parameters(), p => Assert.True(p.parameter.grad is not null, $"{p.name} has no gradient"));
            foreach (var parameter in vae.parameters())
            {
                parameter.grad = null;
            }
        }

        Step();
        var statistics = DisposeScopeManager.Statistics;
        var before = statistics.ThreadTotalLiveCount;
        for (var i = 0; i < 10; i++)
        {
            Step();
        }

        Assert.Equal(before, statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void Encode_WrongChannels_SaysWhatIsExpected()
    {
        using var scope = NewDisposeScope();
        using var vae = new AutoencoderKL(TinyModels.Vae, new Generator(1));
        Assert.Contains(
            "[1, 4, 8, 8], expected [N, 3, height, width]",
            Assert.Throws<ArgumentException>(() => vae.Encode(zeros(1, 4, 8, 8))).Message,
            StringComparison.Ordinal);
    }

    private static Tensor Pixels() => randn([2, 3, 8, 12], generator: new Generator(2));
}
