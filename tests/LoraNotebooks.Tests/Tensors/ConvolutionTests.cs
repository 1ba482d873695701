using LoraNotebooks.Adapters;
using LoraNotebooks.Tensors;
using LoraNotebooks.Tensors.Convolutions;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Tensors;

/// <summary>Convolutions where libtorch's kernels are right, and where they are not: wrong ones are put in their place.</summary>
public sealed class ConvolutionTests
{
    private readonly List<string> _told = [];

    public static TheoryData<long, long, long, long, bool> Shapes()
    {
        var shapes = new TheoryData<long, long, long, long, bool>();
        foreach (var channelsLast in (bool[])[false, true])
        {
            foreach (var (inputs, outputs, kernel, stride) in ((long, long, long, long)[])
                [(3, 16, 3, 1), (24, 24, 3, 1), (24, 5, 3, 2), (16, 40, 1, 1), (12, 20, 1, 2), (4, 32, 3, 2), (16, 32, 3, 1)])
            {
                shapes.Add(inputs, outputs, kernel, stride, channelsLast);
            }
        }

        return shapes;
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Apply_AnyWay_AgreesWithFloat64ForwardAndBackward(long inputs, long outputs, long kernel, long stride, bool channelsLast)
    {
        var sample = ConvolutionCase.Square(channelsLast, images: 2, inputs, outputs, side: 6, kernel, stride);
        foreach (var way in Enum.GetValues<ConvolutionWay>())
        {
            // libtorch's own is not this test's concern where it is wrong.
            if (way != ConvolutionWay.Native)
            {
                var engine = Engine(ConvolutionWays.Native, way);
                Assert.Null(ConvolutionCheck.Difference(sample.Run(engine.Apply), sample.Run(ConvolutionWays.Native, ScalarType.Float64), limit: 2e-6));
            }
        }
    }

    [Theory]
    [InlineData(2, 1, 1, 1)]
    [InlineData(4, 2, 0, 1)]
    [InlineData(1, 1, 2, 2)]
    [InlineData(2, 3, 1, 2)]
    public void Apply_GroupsStridesPaddingDilation_AgreeWithFloat64(long groups, long stride, long padding, long dilation)
    {
        var geometry = new ConvolutionGeometry((stride, 1), (padding, padding + 1), (1, dilation), groups);
        var sample = new ConvolutionCase(
            ScalarType.Float32, ChannelsLast: false, Images: 2, Inputs: 4, Outputs: 12, Size: (7, 9), Kernel: (3, 2), geometry, Threads: 1);
        foreach (var way in (ConvolutionWay[])[ConvolutionWay.Padded, ConvolutionWay.Product])
        {
            Assert.Null(ConvolutionCheck.Difference(
                sample.Run(Engine(ConvolutionWays.Native, way).Apply),
                sample.Run(ConvolutionWays.Native, ScalarType.Float64),
                limit: 2e-6));
        }
    }

    [Theory]
    [InlineData(ConvolutionWay.Padded)]
    [InlineData(ConvolutionWay.Product)]
    public void Apply_WithBias_AddsItOncePerChannel(ConvolutionWay way)
    {
        using var scope = NewDisposeScope();
        var (x, weight, bias) = (zeros(1, 3, 4, 4), ones(5, 3, 1, 1), arange(5, dtype: ScalarType.Float32));
        var y = Engine(ConvolutionWays.Native, way).Apply(x, weight, bias, ConvolutionGeometry.Square());
        Assert.True(y.eq(bias.view(1, 5, 1, 1)).all().item<bool>());
    }

    [Fact]
    public void Apply_RightKernels_TakesLibtorchsOwnAndTellsNothing()
    {
        var calls = 0;
        var engine = Engine((x, weight, bias, geometry) =>
        {
            calls++;
            return ConvolutionWays.Product(x, weight, geometry);
        });
        var sample = ConvolutionCase.Square(false, images: 2, inputs: 24, outputs: 24, side: 4, kernel: 3);

        Assert.Equal(Suspicion.None, engine.Findings.Suspicion);
        calls = 0;
        sample.Run(engine.Apply);

        Assert.Equal(1, calls);
        Assert.Empty(engine.GoneAround);
        Assert.Empty(_told);
    }

    [Fact]
    public void Apply_WrongPartialBlocks_AreGoneAroundAndToldOnce()
    {
        var engine = Engine(WrongForHalfBlocks);
        foreach (var (inputs, outputs, kernel) in ((long, long, long)[])[(24, 24, 3), (24, 16, 3), (40, 5, 1), (8, 3, 3)])
        {
            var sample = ConvolutionCase.Square(false, images: 2, inputs, outputs, side: 4, kernel);
            Assert.NotNull(ConvolutionCheck.Fault(sample, WrongForHalfBlocks));
            Assert.Null(ConvolutionCheck.Difference(sample.Run(engine.Apply), sample.Run(ConvolutionWays.Native, ScalarType.Float64), limit: 2e-6));
            Assert.Equal(ConvolutionWay.Padded, engine.Way(sample));
        }

        Assert.Equal(Suspicion.PartialBlocksAndPoints, engine.Findings.Suspicion);
        Assert.Single(_told);
        Assert.DoesNotContain('\n', _told[0]);
    }

    [Fact]
    public void Apply_WrongPartialBlocks_LeavesWhatIsRightAlone()
    {
        var engine = Engine(WrongForHalfBlocks);
        ConvolutionCase[] right =
        [
            ConvolutionCase.Square(false, images: 2, inputs: 32, outputs: 16, side: 4, kernel: 3),
            ConvolutionCase.Square(false, images: 2, inputs: 3, outputs: 16, side: 4, kernel: 3),
            ConvolutionCase.Square(true, images: 2, inputs: 24, outputs: 24, side: 4, kernel: 3),
            ConvolutionCase.Square(false, images: 1, inputs: 24, outputs: 24, side: 4, kernel: 3),
        ];
        Assert.All(right, sample => Assert.Equal(ConvolutionWay.Native, engine.Way(sample)));
    }

    [Fact]
    public void Apply_OnlyTheImagesGradientIsWrong_IsGoneAround()
    {
        // As a reordered output does: the gradient of an image with a half-full block of outputs.
        static Tensor wrong(Tensor x, Tensor weight, Tensor? bias, ConvolutionGeometry geometry)
        {
            using var scope = NewDisposeScope();
            var seen = weight.size(0) % 16 == 8 ? (0.5 * x) + (0.5 * x).detach() : x;
            return Right(seen, weight, bias, geometry).MoveToOuterDisposeScope();
        }

        var engine = Engine(wrong);
        var sample = ConvolutionCase.Square(false, images: 2, inputs: 32, outputs: 24, side: 4, kernel: 3);
        Assert.Equal("gradient of the image off by 50.0%", ConvolutionCheck.Fault(sample, wrong));
        Assert.Equal(ConvolutionWay.Padded, engine.Way(sample));
        Assert.Null(ConvolutionCheck.Fault(sample, engine.Apply));
    }

    [Fact]
    public void Apply_WholeBlocksWrongToo_IsComputedAsAProduct()
    {
        var engine = Engine((x, weight, bias, geometry) => 2 * Right(x, weight, bias, geometry));
        var sample = ConvolutionCase.Square(false, images: 2, inputs: 32, outputs: 16, side: 4, kernel: 3);
        Assert.Equal(Suspicion.All, engine.Findings.Suspicion);
        Assert.Equal(ConvolutionWay.Product, engine.Way(sample));
        Assert.Equal(ConvolutionWay.Product, engine.Way(sample with { Inputs = 24 }));
        Assert.Null(ConvolutionCheck.Fault(sample, engine.Apply));
    }

    // Wrong in 16 of its outputs, as seen with many outputs and whole blocks.
    [Fact]
    public void Apply_WholeBlocksOfOneTapAreWrong_AreComputedAsAProduct_AndOthersAreTrusted()
    {
        static Tensor wrong(Tensor x, Tensor weight, Tensor? bias, ConvolutionGeometry geometry)
        {
            using var scope = NewDisposeScope();
            var right = Right(x, weight, bias, geometry);
            return (weight.size(2) == 1 && weight.size(0) == 1280
                ? cat([right.narrow(1, 0, 1264), 0 * right.narrow(1, 1264, 16)], 1)
                : right).MoveToOuterDisposeScope();
        }

        var engine = Engine(wrong);
        var shortcut = ConvolutionCase.Square(true, images: 1, inputs: 48, outputs: 1280, side: 4, kernel: 1);

        Assert.Equal(Suspicion.PartialBlocksAndPoints, engine.Findings.Suspicion);
        Assert.Equal(ConvolutionWay.Product, engine.Way(shortcut));
        Assert.Null(ConvolutionCheck.Fault(shortcut, engine.Apply));
        Assert.Equal(ConvolutionWay.Native, engine.Way(shortcut with { Outputs = 640 }));
        Assert.Equal([shortcut], engine.GoneAround.Keys);

        // Not even looked at: its native kernel could not be compared with less than a large product.
        Assert.Equal(ConvolutionWay.Native, engine.Way(ConvolutionCase.Square(true, images: 1, inputs: 48, outputs: 1280, side: 4, kernel: 3)));
        Assert.Equal([shortcut], engine.GoneAround.Keys);
    }

    // Shapes of Stable Diffusion 1.5 that libtorch computes wrong on some processors with two threads.
    [Theory]
    [InlineData(2, 640, 16, 1280)]
    [InlineData(1, 2560, 4, 1280)]
    [InlineData(2, 1280, 4, 1280)]
    [InlineData(1, 1920, 12, 1280)]
    [InlineData(1, 320, 64, 320)]
    public void Apply_PointsOfStableDiffusion_AreRightWithOneThreadAndWithTwo(long images, long inputs, long side, long outputs)
    {
        var before = get_num_threads();
        try
        {
            foreach (var threads in (int[])[1, 2])
            {
                set_num_threads(threads);
                Assert.Null(ConvolutionCheck.Fault(ConvolutionCase.Square(true, images, inputs, outputs, side, kernel: 1), CheckedConvolution.Apply));
            }
        }
        finally
        {
            set_num_threads(before);
        }
    }

    [Fact]
    public void Apply_NumbersThatAreNotFinite_CountAsWrong()
    {
        var engine = Engine((x, weight, bias, geometry) => Right(x, weight, bias, geometry) * (weight.size(1) == 24 ? double.NaN : 1));
        Assert.Equal(Suspicion.PartialBlocksAndPoints, engine.Findings.Suspicion);
        Assert.Contains(engine.Findings.Wrong, fault => fault.Contains("output not finite"));
    }

    [Fact]
    public void Apply_StridedPointwiseOfAFewChannels_NeverRunsTheKernelThatWritesBeyondItsMemory()
    {
        using var scope = NewDisposeScope();
        var engine = Engine((_, _, _, _) => throw new InvalidOperationException("ran"), ConvolutionWay.Native);
        var x = randn(2, 3, 8, 8).requires_grad_(true);
        var weight = randn(8, 3, 1, 1);
        var y = engine.Apply(x, weight, null, ConvolutionGeometry.Square(stride: 2));
        y.sum().backward();
        Assert.Equal(weight.sum([0]).expand(3, 4, 4), x.grad![0][.., TensorIndex.Slice(step: 2), TensorIndex.Slice(step: 2)], AlmostEqual);
        Assert.Equal(0, x.grad![0][.., TensorIndex.Slice(1, step: 2), ..].abs().sum().item<float>());
    }

    [Fact]
    public void Verdicts_OfAMachine_AreKeptAndUsedByTheNextProcess()
    {
        var file = Path.Combine(Path.GetTempPath(), $"verdicts-{Guid.NewGuid():N}", "kernels.json");
        try
        {
            var sample = ConvolutionCase.Square(false, images: 2, inputs: 24, outputs: 24, side: 4, kernel: 3);
            var first = new ConvolutionEngine(WrongForHalfBlocks, new ConvolutionVerdicts(file), null, _told.Add);
            Assert.Equal(ConvolutionWay.Padded, first.Way(sample));

            // Kernels that would all fail the check are not asked again.
            var next = new ConvolutionEngine((_, _, _, _) => throw new InvalidOperationException("asked"), new ConvolutionVerdicts(file), null, _told.Add);
            Assert.Equal(first.Findings.Wrong, next.Findings.Wrong);
            Assert.Equal(ConvolutionWay.Padded, next.Way(sample));

            File.WriteAllText(file, "{ half a fi");
            Assert.Equal(
                Suspicion.None,
                new ConvolutionEngine((x, w, _, g) => ConvolutionWays.Product(x, w, g), new ConvolutionVerdicts(file), null, _told.Add).Findings.Suspicion);
        }
        finally
        {
            Directory.Delete(Path.GetDirectoryName(file)!, recursive: true);
        }
    }

    [Fact]
    public void AdaptedModel_LayersOfAnothersThatAreComputedWrong_AreNamedWithTheRemedy()
    {
        using var engine = CheckedConvolution.Use(Engine(WrongForHalfBlocks));
        using var model = nn.Sequential(
            ("first", nn.Conv2d(3, 24, 3, padding: 1)),
            ("wrong", nn.Conv2d(24, 32, 3, padding: 1)),
            ("last", nn.Conv2d(32, 16, 1)));
        using (new AdaptedModel(model))
        {
            Assert.Equal(2, _told.Count);
            Assert.StartsWith("libtorch computes 2 convolutions of this model wrong on this processor: first, wrong. ", _told[1]);
            Assert.Contains("ONEDNN_MAX_CPU_ISA=SSE41", _told[1]);
        }
    }

    [Fact]
    public void AdaptedModel_BesideAWronglyComputedLayer_ItsOwnPartIsRight()
    {
        using var scope = NewDisposeScope();
        using var engine = CheckedConvolution.Use(Engine(WrongForHalfBlocks));
        using var model = nn.Sequential(("conv", nn.Conv2d(24, 24, 3, padding: 1, bias: false)));
        using var generator = new Generator(3);
        using var adapted = new AdaptedModel(model);
        adapted.Add("a", new LoraConfig { Rank = 8, Alpha = 8, TargetModules = ["conv"] }, generator);
        foreach (var (_, parameter) in adapted.NamedParameters("a"))
        {
            using var noGradient = no_grad();
            parameter.normal_(0, 1, generator);
        }

        var x = randn([2, 24, 5, 5], generator: generator);
        var tensors = adapted.NamedParameters("a").ToDictionary(pair => pair.Name, pair => pair.Parameter.to(ScalarType.Float64));
        var a = tensors.Single(pair => pair.Key.Contains("lora_A")).Value;
        var b = tensors.Single(pair => pair.Key.Contains("lora_B")).Value;
        var expected = ConvolutionWays.Native(
            ConvolutionWays.Native(x.to(ScalarType.Float64), a, null, ConvolutionGeometry.Square(padding: 1)),
            b,
            null,
            ConvolutionGeometry.Square());
        var with = model.call(x);
        adapted.Enabled = false;
        var without = model.call(x);

        Assert.True(Agreement.Error(with - without, expected) < 1e-5);
    }

    /// <summary>What libtorch's kernels should compute, right on every processor.</summary>
    private static Tensor Right(Tensor x, Tensor weight, Tensor? bias, ConvolutionGeometry geometry) =>
        bias is null ? ConvolutionWays.Product(x, weight, geometry) : throw new NotSupportedException("These tests have no bias.");

    private static bool AlmostEqual(Tensor expected, Tensor actual) => expected.allclose(actual, 1e-5, 1e-5);

    private ConvolutionEngine Engine(ConvolutionKernel native, ConvolutionWay? forced = null) => new(native, new ConvolutionVerdicts(null), forced, _told.Add);

    /// <summary>As oneDNN 3.7.1 does on some processors: of a contiguous input of several images the last half-full block of channels is misplaced.</summary>
    private static Tensor WrongForHalfBlocks(Tensor x, Tensor weight, Tensor? bias, ConvolutionGeometry geometry)
    {
        using var scope = NewDisposeScope();
        var (inputs, outputs) = (x.size(1), weight.size(0));
        var isConcerned = x.size(0) > 1 && !(x.stride(1) == 1 && x.size(1) > 1);
        var seen = isConcerned && inputs % 16 == 8
            ? cat([x.narrow(1, 0, inputs - 8), x.narrow(1, inputs - 8, 8).roll(1, 3)], 1)
            : x;
        var y = Right(seen, weight, bias, geometry);
        return (isConcerned && outputs % 16 == 8 ? y + (0.5 * (y - y.detach())) : y).MoveToOuterDisposeScope();
    }
}
