using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Models.Diffusion;

/// <summary>Halves the resolution with a 3×3 convolution of stride 2.</summary>
/// <remarks>Source: diffusers, models/downsampling.py, <c>Downsample2D</c>.</remarks>
public sealed class Downsample2D : Module<Tensor, Tensor>
{
    private readonly Module<Tensor, Tensor> conv;
    private readonly bool _padFarSideOnly;

    /// <summary>Creates the convolution.</summary>
    /// <param name="channels">C, the number of channels in and out.</param>
    /// <param name="padding">1: one pixel all around (UNet). 0: one pixel at the right and the bottom only (VAE encoder).</param>
    public Downsample2D(int channels, int padding)
        : base(nameof(Downsample2D))
    {
        _padFarSideOnly = padding == 0;
        conv = Layers.Conv2d(channels, channels, kernel_size: 3, stride: 2, padding: padding);
        RegisterComponents();
    }

    /// <summary>Halves height and width, rounding up (padding 1) or down (padding 0).</summary>
    /// <param name="input">[N, C, H, W].</param>
    /// <returns>[N, C, H/2, W/2].</returns>
    public override Tensor forward(Tensor input)
    {
        if (!_padFarSideOnly)
        {
            return conv.call(input);
        }

        using var scope = NewDisposeScope();
        return conv.call(functional.pad(input, (0, 1, 0, 1))).MoveToOuterDisposeScope();
    }
}

/// <summary>Enlarges by nearest neighbour, then smooths with a 3×3 convolution.</summary>
/// <remarks>Source: diffusers, models/upsampling.py, <c>Upsample2D</c>.</remarks>
public sealed class Upsample2D : Module<Tensor, long, long, Tensor>
{
    private readonly Module<Tensor, Tensor> conv;

    /// <summary>Creates the convolution.</summary>
    /// <param name="channels">C, the number of channels in and out.</param>
    public Upsample2D(int channels)
        : base(nameof(Upsample2D))
    {
        conv = Layers.Conv2d(channels, channels, kernel_size: 3, padding: 1);
        RegisterComponents();
    }

    /// <summary>Enlarges to a given size: twice the input's, or one pixel less where a skip connection has an odd size.</summary>
    /// <param name="input">[N, C, H, W].</param>
    /// <param name="height">The height of the result.</param>
    /// <param name="width">The width of the result.</param>
    /// <returns>[N, C, height, width].</returns>
    public override Tensor forward(Tensor input, long height, long width)
    {
        using var scope = NewDisposeScope();
        var enlarged = functional.interpolate(input, [height, width], mode: InterpolationMode.Nearest);
        return conv.call(enlarged).MoveToOuterDisposeScope();
    }
}
